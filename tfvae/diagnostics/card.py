"""The evaluation card of a trained model, as a dict for programs and as a table for people."""

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from tfvae import disentanglement
from tfvae.diagnostics.evidence import measure
from tfvae.diagnostics.laplace import laplace_log_evidence
from tfvae.diagnostics.latents import ACTIVE_THRESHOLD, posterior_mean_variances
from tfvae.inputs import Supported
from tfvae.support import files
from tfvae.support.pareto import reliable_k
from tfvae.support.rules import Column, FromTwo, TestSet, checked

# Smaller than the published sizes, so that the scores take seconds.
_SCORE_SIZES: dict[str, Any] = {"num_points": 2000, "num_train": 200, "num_test": 100, "set_size": 16}
_SCORE_SEEDS = 3
_MAX_FITTED, _FITTED_SAMPLES = 400, 2000
_MAX_DECODED = 500_000_000  # values, of all draws of q(z|x): the main job measures for less time than it trains


@checked
def evaluation_card(
    vae, data: TestSet, num_samples: FromTwo | None = None, seed: int = 0, *, progress: bool = False
) -> dict[str, Any]:
    """The model's measurements on the test set, as a dict that strict JSON can hold: None for what is not defined.

    `log_evidence` is by `laplace_log_evidence`, with at most 2,000 draws an image. Of more than 400 images every
    n-th is measured so; the mean difference from `importance_bound` there is added to that of all images, and its
    standard error to `mc_standard_error`.

    Args:
        vae: a `VAE`, or a `ConditionalVAE`, which is conditioned on the labels: log p(x|y), and so on.
        data: a `data.ImageData`.
        num_samples: draws of q(z|x) for each image; default: 5,000, or as many fewer, down to 500, as decode half a
            billion values in all.
        seed, progress: as for `log_evidence`.

    Returns:
        At its top level: `elbo`, `log_likelihood`, `kl`, `log_evidence`, `importance_bound` (means over the test
        images, nats per image; the bound is by draws of q), `mc_standard_error` (of log_evidence),
        `elbo_mc_standard_error`, `data_standard_error` (of log_evidence, over the images), `effective_samples` and
        `pareto_k` ({draws of q, draws of the fitted mixture: [median, worst] over the images}), `unreliable_images` (by
        the fitted mixture's k), `bits_per_dim`, `active_units`, `inactive_latents`, `posterior_collapse`, and under
        `how` the data, samples and seeds. For data with factors that vary also `disentanglement`, {score: [mean,
        standard deviation over draws]}, or None for a score that these data do not have.
    """
    given = vae.for_labels(data.y_test)
    x = data.x_test
    num_fitted = min(num_samples or _FITTED_SAMPLES, _FITTED_SAMPLES)
    if num_samples is None:
        num_samples = min(max(_MAX_DECODED // x.size, 500), 5000)
    measured = measure(given, x, num_samples, seed, progress=progress)
    some = slice(None, None, -(-len(x) // _MAX_FITTED))
    fitted = laplace_log_evidence(given.rows(some), x[some], num_fitted, seed=seed, progress=progress)
    gain = fitted.value - measured.log_evidence[some]
    of_part = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) < len(x) else 0.0
    variances = posterior_mean_variances(given, x)
    active = variances > ACTIVE_THRESHOLD
    factor_sizes = getattr(data, "factor_sizes", None)
    known = factor_sizes is not None and max(factor_sizes) > 1
    size = int(np.prod(vae.event_shape))
    mean = {name: float(getattr(measured, name).mean()) for name in ("elbo", "log_likelihood", "kl")}
    bound = float(measured.log_evidence.mean())
    log_evidence = bound + float(gain.mean())
    proposals: dict[str, Any] = {"encoder": measured, "fitted": fitted}
    card = {
        **mean,
        "log_evidence": log_evidence,
        "importance_bound": bound,
        "mc_standard_error": float(np.hypot(error_of_mean(fitted.standard_error), of_part)),
        "elbo_mc_standard_error": error_of_mean(measured.elbo_standard_error),
        "data_standard_error": float(fitted.value.std(ddof=1) / np.sqrt(len(x))),
        "effective_samples": {k: _median_and(np.min, v.effective_samples) for k, v in proposals.items()},
        "pareto_k": {k: _median_and(np.max, v.pareto_k) for k, v in proposals.items()},
        "unreliable_images": int((fitted.pareto_k > reliable_k(num_fitted)).sum()),
        "bits_per_dim": float(-log_evidence / (size * np.log(2))),
        "active_units": int(active.sum()),
        "inactive_latents": [int(i) for i in np.flatnonzero(~active)],
        "posterior_collapse": _collapse(active, mean["kl"]),
        **({"disentanglement": _scores(vae, data, seed)} if known else {}),
        "how": {
            "units": "nats per image, sums over pixels and latents, means over images",
            "data": data.name,
            "split": "test",
            "num_images": len(x),
            "binarization": data.binarize or "none",
            "data_seed": data.seed,
            "grey_levels": "continuous" if data.num_levels is None else data.num_levels + 1,
            "support": vae.inputs_accepted.support,
            "num_samples": num_samples,
            "log_evidence": "importance sampling from Student's t at the modes of p(z|x)",
            "num_fitted_images": len(x[some]),
            "num_fitted_samples": num_fitted,
            "seed": seed,
            "latent_size": vae.latent_size,
            "active_threshold": ACTIVE_THRESHOLD,
            "bits_per_dim": f"-log_evidence / (dimensions * log 2), of a {_measure_of(vae)}",
            **({"disentanglement": _SCORE_SIZES | {"draws": _SCORE_SEEDS}} if known else {}),
            **({"given": list(given.condition)} if given.condition else {}),
            **({"labels": list(data.label_names)} if data.label_names else {}),
        },
    }
    return files.finite(card)


@checked
def error_of_mean(errors: Column) -> float:
    """The standard error of the mean of independent estimates with these standard errors [N].

    >>> tfvae.diagnostics.error_of_mean(np.array([3.0, 4.0]))
    2.5
    """
    return float(np.sqrt(np.sum(np.square(errors))) / len(errors))


def _median_and(worst, values):
    return [float(np.median(values)), float(worst(values))]


def _measure_of(vae):
    """What p(x|z) is: a support that holds 1/pi is no grid of grey levels."""
    if not isinstance(vae.decoder, Supported):
        return "mass or density"
    return "density" if bool(vae.decoder.in_support(tf.constant(1 / np.pi))) else "mass"


def _scores(vae, data, seed):
    """{score: [mean, standard deviation over draws], or None for one that the data do not have}."""
    encode = disentanglement.means(vae)
    seeds = range(seed, seed + _SCORE_SEEDS)
    found: dict[str, Any] = {}
    for name in disentanglement.NAMES:
        try:
            of_seed = functools.partial(disentanglement.scores, encode, data, [name], **_SCORE_SIZES)
            spread: Any = disentanglement.spread(lambda s, of_seed=of_seed: of_seed(seed=s), seeds)
            found |= spread
        except ValueError:  # a factor of too many values, say: a training does not end without its card
            found[name] = None
    return {name: score and list(score) for name, score in found.items()}


def _collapse(active, kl):
    if not active.any():
        return f"complete collapse: q(z|x) is nearly the same for every x (KL {kl:.3f} nats), the decoder ignores z"
    if not active.all():
        return f"partial collapse: {int((~active).sum())} of {len(active)} latents carry nothing of x"
    return "no collapse"


@checked
def format_card(card: dict[str, Any]) -> str:
    """The card as a table."""
    how = card["how"]
    if "importance_bound" not in card:  # a card of version 0.1.0, whose log_evidence is the bound
        card = {**card, "importance_bound": card["log_evidence"], "unreliable_images": None}
    fitted = card["unreliable_images"] is not None
    evidence = f"+- {card['data_standard_error']:.2f} over images"
    if fitted:
        evidence += f", +- {card['mc_standard_error']:.3f} over noise"
    rows = [
        ("log evidence  log p(x)", f"{card['log_evidence']:.2f}", evidence if fitted else f"or more, {evidence}"),
        ("ELBO", f"{card['elbo']:.2f}", f"+- {card['elbo_mc_standard_error']:.3f} over noise"),
        ("log-likelihood  E_q[log p(x|z)]", f"{card['log_likelihood']:.2f}", ""),
        ("KL(q(z|x) || p(z))", f"{card['kl']:.2f}", ""),
        ("gap  log p(x) - ELBO", f"{card['log_evidence'] - card['elbo']:.2f}", "" if fitted else "or more"),
        ("importance-weighted bound", f"{card['importance_bound']:.2f}", f"by {how['num_samples']} draws of q(z|x)"),
        ("bits per dimension", f"{card['bits_per_dim']:.4f}", _of_what(card)),
        ("active latents", str(card["active_units"]), f"of {how['latent_size']}; {card['posterior_collapse']}"),
    ]
    for name, score in card.get("disentanglement", {}).items():
        mean, deviation = score or (None, None)
        rows.append((name.replace("_", " "), _shown(mean), f"+- {_shown(deviation)} over draws"))
    title = f"{how['num_images']} {how['split']} images of {how['data']}"
    title += ", given their labels" if "given" in how else ""
    lines = [title, *(f"  {name:<32}{value:>10}  {note}".rstrip() for name, value, note in rows)]
    if fitted:
        count, tails = round(card["effective_samples"]["fitted"][0]), card["unreliable_images"]
        most = reliable_k(how["num_fitted_samples"])
        lines += [
            f"  (log p(x): {how['log_evidence']}, {how['num_fitted_samples']} draws for each",
            f"   of {how['num_fitted_images']} images; {count} effective, the median; k > {most:.2g} in {tails})",
        ]
    lines.append(f"  (nats per image; seed {how['seed']}; binarization: {how['binarization']})")
    return "\n".join(lines)


def _shown(value):
    return "undefined" if value is None else f"{value:.2f}"


def _of_what(card):
    """What bits per dimension mean: those of a density depend on the unit of x."""
    if not card["how"]["bits_per_dim"].endswith("density"):
        return ""
    levels = card["how"]["grey_levels"]
    if not isinstance(levels, int):
        return "of a density: not comparable with a mass"
    return f"of a density; as a mass on {levels} levels about {card['bits_per_dim'] + np.log2(levels - 1):.2f}"
