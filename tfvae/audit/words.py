"""The verdict on a fitted loss: chooses an explanation and describes its weights in words."""

import dataclasses
import math
from typing import Any

import numpy as np

from tfvae.audit.fit import CLEAN, badness

OWN, SQUARED = "the decoder's", "squared error"
LOGITS, PROBABILITIES = "cross-entropy of logits", "cross-entropy of probabilities"
_CLEARLY_WORSE = 25.0  # a significantly worse fit: five standard errors, squared


@dataclasses.dataclass(frozen=True)
class LossAudit:
    """The result of `audit_loss`; print it for a table. Errors are standard errors, NaN where a weight is unknown.

    The likelihood is the decoder's, a cross-entropy, squared error (a normal of variance 1) or absolute error (a
    Laplace distribution of scale 1). The standard deviations are functions of the encoder's scale s.
    """

    log_likelihood_weight: float  # of -E_q[log p(x|z)], summed over x, at the batch given; 1 in the negative ELBO
    log_likelihood_weight_error: float
    kl_weight: float  # of KL(q(z|x) || p(z)), summed over the latents; 1 in the negative ELBO
    kl_weight_error: float
    effective_beta: float  # kl_weight / log_likelihood_weight
    effective_beta_error: float
    likelihood: str  # of the log p(x|z) in the loss
    sampler_std: str  # the standard deviation in the sampler
    kl_std: str  # the standard deviation in the KL
    unexplained: float  # share of the loss's variance over the perturbations that the two terms do not explain
    findings: tuple[str, ...]  # sentences, mistakes first
    right: bool  # whether the loss is minus the ELBO (with the beta asked for), up to a constant and a positive factor

    def __str__(self):
        lines = [
            "weights in the loss",
            f"  -E_q[log p(x|z)]    {self.log_likelihood_weight:>12.4g}  +- {self.log_likelihood_weight_error:.2g}",
            f"  KL(q(z|x) || p(z))  {self.kl_weight:>12.4g}  +- {self.kl_weight_error:.2g}",
            f"  effective beta      {self.effective_beta:>12.4g}  +- {self.effective_beta_error:.2g}",
            f"  log p(x|z)          {self.likelihood}",
            f"  std of z            {self.sampler_std} in the sampler, {self.kl_std} in the KL",
            f"  unexplained         {self.unexplained:.1g} of the loss's variance",
        ]
        return "\n".join([*lines, *(f"* {finding}" for finding in self.findings)])


def describe(
    candidates: list, shape: tuple[int, ...], latent_size: int, beta: float, facts: dict[str, bool]
) -> LossAudit:
    """The audit of the best candidate; `shape` is the batch's."""
    best = min(candidates, key=badness)
    margin = _CLEARLY_WORSE * max(1.0, badness(best)) / best.degrees
    tied = [c for c in candidates if badness(c) - badness(best) < margin]
    chosen = min(tied, key=lambda c: _preference(c, shape, facts["seedless"]))
    alike = {c.sampler_std for c in tied if (*c[:2], c.kl_std) == (*chosen[:2], chosen.kl_std)}
    (log_likelihood, kl), errors = chosen.weights[0], chosen.errors[0]
    effective_beta = kl / log_likelihood
    findings, notes = _findings(chosen, sorted(alike), shape, latent_size, beta, facts)
    if not findings:
        notes = ["the loss is right (up to a constant)", *notes]
    beta_error = math.hypot(effective_beta * errors[0], errors[1]) / abs(log_likelihood)
    numbers: Any = map(float, (log_likelihood, errors[0], kl, errors[1], effective_beta, beta_error))
    readings = chosen.likelihood, chosen.sampler_std, chosen.kl_std, float(chosen.unexplained)
    return LossAudit(*numbers, *readings, tuple(findings + notes), not findings)


def _preference(candidate, shape, seedless):
    """The sort key among equally good fits: the decoder's likelihood, known weights, no noise, one reading of s."""
    own = candidate.likelihood == OWN
    known = [w * batch for w, *_ in _known_weights(candidate.likelihood, shape) for batch in (1, shape[0])]
    weight, error = candidate.weights[0, 0], candidate.errors[0, 0]
    explained = error < 0.1 * abs(weight) and any(_is(weight, error, w) for w in known)
    ranks = [own and explained, candidate.likelihood == SQUARED and explained, own, explained]
    rank, unsampled = (ranks + [True]).index(True), seedless and candidate.sampler_std == "0"
    return rank, not unsampled, candidate.sampler_std != candidate.kl_std


def _known_weights(likelihood, shape):
    """[(weight, n, what)] of a sum over x, n = 1, and of means over some axes; squared error with and without 1/2."""
    pixels, last = math.prod(shape[1:]), shape[-1]
    named = [(1, "x"), (pixels, "pixels" if len(shape) > 2 else "dimensions")]
    if len(shape) > 2:
        named += [(last, "channels" if len(shape) == 4 else "columns"), (pixels // last, "positions")]
    units = (1, 2) if likelihood.startswith(SQUARED) else (1,)
    return [(unit / n, n, what) for unit in units for n, what in named]


def _is(value, error, target):
    return abs(value - target) < max(4 * error, 0.01 * abs(target))


def _findings(candidate, alike, shape, latent_size, beta, facts):
    """Mistakes and remarks."""
    if badness(candidate) > CLEAN:
        words = "cannot tell: the loss is no weighted sum of a log-likelihood and a KL that fit encoder and decoder; "
        return [f"{words}{candidate.unexplained:.2g} of its variance is left over, more than noise"], []
    if unknown := _unknown(candidate, shape, latent_size):
        return unknown, []
    batch, weights, errors = shape[0], candidate.weights[0], candidate.errors[0]
    present = np.abs(weights) > 4 * errors
    powers = [_power(candidate, j if present[j] else 1 - j, batch) for j in (0, 1)]
    (log_likelihood, kl), errors = weights / np.power(float(batch), powers), errors / np.power(float(batch), powers)
    findings = _about_batch(powers, batch)
    notes = [f"the whole loss is summed over the batch of {batch}"] if powers == [1, 1] else []
    factor = kl / (beta * log_likelihood) if beta else np.nan
    if all(present) and _is(factor, factor * np.hypot(errors[0] / log_likelihood, errors[1] / kl), 1):
        findings += ["the loss is the ELBO, to be maximised: its sign is wrong"] if kl < 0 else []
        if not _is(abs(log_likelihood), errors[0], 1):
            notes += [f"the whole loss is counted {abs(log_likelihood):.3g} times"]
    else:
        beta_now = weights[1] / weights[0]
        findings += _about_log_likelihood(candidate, log_likelihood, errors[0], present[0], shape, beta_now, facts)
        findings += _about_kl(kl, errors[1], present[1], latent_size, beta, abs(log_likelihood))
    if all(present):
        findings += _about_std(candidate, alike, facts)
    more, remarks = _about_outputs(candidate, facts)
    return findings + more, notes + remarks


def _unknown(candidate, shape, latent_size):
    """Weights whose errors are too large to distinguish them from 0 or from a mean over all axes."""
    found = []
    for j, (name, size) in enumerate((("log-likelihood", math.prod(shape[1:])), ("KL", latent_size))):
        weight, error = candidate.weights[0, j], candidate.errors[:, j].max()
        if np.isnan(error):
            found.append(f"cannot tell how the {name} is counted: it does not move apart from the rest as weights do")
        elif not (error < 0.1 * abs(weight) or (error < 0.1 / size and not 2 * error < abs(weight) < 4 * error)):
            found.append(f"cannot tell how the {name} is counted: {weight:.2g} +- {error:.2g} (more points or seeds?)")
    return found


def _power(candidate, j, batch):
    """The power of the batch size in a weight: 1 for a sum, 0 for a mean, -1 for a mean divided by the size again."""
    (whole, half), (error, half_error) = candidate.weights[:, j], candidate.errors[:, j]
    growth = batch / (batch // 2)
    return min((0, 1, -1), key=lambda p: abs(whole - half * growth**p) / np.hypot(error, half_error * growth**p))


def _about_batch(powers, batch):
    if powers[0] == powers[1]:
        return []
    words = {1: f"summed over the batch of {batch}", -1: f"divided by the batch of {batch} once more"}
    names = ("reconstruction", "the KL")
    return [f"{name} is {words[power]}" for name, power in zip(names, powers, strict=True) if power]


def _about_log_likelihood(candidate, weight, error, present, shape, effective_beta, facts):
    if not present:
        return ["reconstruction is missing: nothing depends on the log-likelihood"]
    if weight < 0:
        return ["the log-likelihood has the wrong sign"]
    name = SQUARED if candidate.likelihood.startswith(SQUARED) else "reconstruction"
    for known, n, what in _known_weights(candidate.likelihood, shape):
        if n > 1 and _is(weight, error, known):
            return [f"{name} is averaged over {n} {what}: effective beta {effective_beta:.4g}"]
    if name == SQUARED:
        if _is(weight, error, 2):
            return ["squared error without variance: a Gaussian with variance 0.5"]
        own = not _is(weight, error, 1) or facts["distribution"]
        return [f"squared error: a Gaussian with variance {1 / weight:.3g}"] if own else []
    if _is(weight, error, 1):
        return []
    return [f"the log-likelihood is counted {weight:#.3g} times: effective beta {effective_beta:.4g}"]


def _about_kl(weight, error, present, latent_size, beta, scale):
    if not present:
        return ["the KL is missing: an autoencoder"] if beta else []
    if _is(weight, error, beta):
        return []
    found = ["the KL has the wrong sign"] if weight < 0 else []
    weight = abs(weight)
    if beta != 1 and _is(weight, error, 1):
        return [*found, f"beta is {beta:g}, but never reaches the loss: the KL is counted 1.00 times"]
    if latent_size > 1 and _is(weight, error, beta / latent_size):
        return [*found, f"the KL is averaged over {latent_size} latents"]
    if _is(weight, error, beta):
        return found
    if error > max(0.01 * weight, 1e-3 * scale):  # another term may look like the KL with a weight of its own
        return [f"cannot tell how the KL is counted: {weight:.2g} +- {error:.2g} (more points or seeds?)"]
    return [*found, f"the KL is counted {weight:#.3g} times"]


def _about_std(candidate, alike, facts):
    s = "the encoder's second output" if facts["tuple"] else "the standard deviation of the encoder's distribution"
    sampler, kl = candidate.sampler_std, candidate.kl_std
    if sampler == "0" and facts["seedless"]:
        return ["z is not sampled: the decoder gets the mean of q(z|x)"]
    if sampler != kl and (len(alike) > 1 or (sampler == "0" and not any(candidate.training))):
        readings = " and of ".join(alike)
        return [f"cannot tell how z is sampled: a std of {readings} explains the loss, {kl}, as in the KL, does not"]
    if sampler == "0":
        return ["z is not sampled: the decoder gets the mean of q(z|x)"]
    if sampler != kl:
        return [f"sampler and KL disagree about what std is: {sampler} in the sampler, {kl} in the KL, with s {s}"]
    return [f"sampler and KL take {kl} for std, with s {s}"] if kl != "s" and not facts["tuple"] else []


def _about_outputs(candidate, facts):
    """Mistakes and remarks about the cross-entropy's arguments."""
    found = []
    if candidate.likelihood == LOGITS and facts["outputs_in_unit_interval"]:
        found = ["the loss takes the decoder's outputs for logits, but all lie in [0, 1]: they are probabilities"]
    remarks = ["the loss is the same for every seed: its noise is fixed, or it has none"] if facts["seedless"] else []
    if candidate.likelihood in (LOGITS, PROBABILITIES) and facts["grey"]:
        remarks += ["x is not binary: its cross-entropy is no log-likelihood (a binomial's, or a mean over binary x)"]
    return found, remarks
