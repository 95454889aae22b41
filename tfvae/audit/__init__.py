"""The audit of a loss that somebody else wrote: which terms it has, with which weights. It trains nothing."""

from tfvae.audit.audit import audit_loss
from tfvae.audit.words import LossAudit

__all__ = ["LossAudit", "audit_loss"]


def __dir__():
    return __all__
