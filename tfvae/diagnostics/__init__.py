"""Measuring a trained VAE: bounds on log p(x) with their errors, gaps, active units, anomalies, the card, the audit.

All results are reproducible from their seeds. Scores against known factors are in `disentanglement`.
"""

from tfvae.audit import LossAudit, audit_loss
from tfvae.diagnostics.annealing import annealed_log_evidence
from tfvae.diagnostics.anomalies import UsualRange, usual_range
from tfvae.diagnostics.card import error_of_mean, evaluation_card, format_card
from tfvae.diagnostics.evidence import Measurement, log_evidence, measure
from tfvae.diagnostics.gaps import InferenceGap, inference_gap
from tfvae.diagnostics.importance import Evidence, evidence_of
from tfvae.diagnostics.laplace import laplace_log_evidence
from tfvae.diagnostics.latents import (
    ACTIVE_THRESHOLD,
    RateDistortion,
    active_units,
    aggregate_posterior,
    rate_distortion,
)
from tfvae.support.pareto import reliable_k

__all__ = [
    "ACTIVE_THRESHOLD",
    "Evidence",
    "InferenceGap",
    "LossAudit",
    "Measurement",
    "RateDistortion",
    "UsualRange",
    "active_units",
    "aggregate_posterior",
    "annealed_log_evidence",
    "audit_loss",
    "error_of_mean",
    "evaluation_card",
    "evidence_of",
    "format_card",
    "inference_gap",
    "laplace_log_evidence",
    "log_evidence",
    "measure",
    "rate_distortion",
    "reliable_k",
    "usual_range",
]


def __dir__():
    return __all__
