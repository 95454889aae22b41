"""The audit of a loss by any author: which terms it has, with which weights, without training."""

from tfvae.audit.audit import audit_loss
from tfvae.audit.words import LossAudit

__all__ = ["LossAudit", "audit_loss"]


def __dir__():
    return __all__
