"""Measuring a trained VAE: bounds on log p(x) with their errors, active units, the evaluation card.

Everything takes fixed seeds and says how many samples: asked twice, it answers the same.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tqdm import tqdm

from tfvae import checks, disentanglement
from tfvae.annealing import annealed_log_evidence as annealed_log_evidence
from tfvae.audit import LossAudit as LossAudit
from tfvae.audit import audit_loss as audit_loss
from tfvae.inference_gap import InferenceGap as InferenceGap
from tfvae.inference_gap import inference_gap as inference_gap
from tfvae.seeds import fold_in
from tfvae.terms import Evidence

tfd = tfp.distributions

# Floats in one decoded chunk. A few such arrays live at a time: 50 MB, whatever the sizes of images and samples.
_CHUNK = 2_000_000
ACTIVE_THRESHOLD = 0.01
# What the card draws for the scores of disentanglement, for each of so many seeds: seconds, not the published sizes.
_SCORE_SIZES = {"num_points": 2000, "num_train": 200, "num_test": 100, "set_size": 16}
_SCORE_SEEDS = 3


class Measurement(NamedTuple):
    """Per-example estimates in nats, [N] each; standard errors are Monte Carlo errors, over the samples of z.

    Attributes:
        log_likelihood: E_q[log p(x|z)].
        kl: KL(q(z|x) || p(z)), exact where TFP has a closed form.
        elbo, elbo_standard_error: log_likelihood - kl.
        log_evidence, log_evidence_standard_error: log 1/S sum_s p(x, z_s) / q(z_s|x), a lower bound on log p(x) in
            expectation whose bias vanishes as S grows. Where the weights' variance is infinite, so is the true error.
    """

    log_likelihood: np.ndarray
    kl: np.ndarray
    elbo: np.ndarray
    elbo_standard_error: np.ndarray
    log_evidence: np.ndarray
    log_evidence_standard_error: np.ndarray


def log_evidence(vae, x, num_samples=5000, seed=0, *, progress=False):
    """Importance-sampled log p(x) of each example.

    Rezende et al. (2014, arXiv 1401.4082, appendix E); Burda et al. (2015, arXiv 1509.00519, section 5.1).

    Args:
        x: [N, *event_shape], in the likelihood's support.
        num_samples: S, at least 2, samples of q(z|x) for each example.
        seed: an integer.
        progress: shows a bar.

    Raises:
        ValueError: num_samples below 2, or bad x.
    """
    measured = measure(vae, x, num_samples, seed, progress=progress)
    return Evidence(measured.log_evidence, measured.log_evidence_standard_error)


def measure(vae, x, num_samples=5000, seed=0, *, progress=False):
    """ELBO, its two terms and log p(x) of each example, from the same samples: a `Measurement`.

    Memory is bounded whatever N and S: examples and samples are taken in chunks. Arguments as for `log_evidence`.
    """
    checks.count("num_samples", num_samples, 2)
    x = vae.check_support(x)
    chunk = min(num_samples, max(1, _CHUNK // int(np.prod(vae.event_shape))))
    num_images = max(1, _CHUNK // (chunk * int(np.prod(vae.event_shape))))
    counts = [min(chunk, num_samples - first) for first in range(0, num_samples, chunk)]
    compiled = _compiled(vae)
    blocks = []
    disable = None if progress else True  # None: a bar in a terminal, nothing in a log
    for start in tqdm(range(0, len(x), num_images), desc="log p(x)", unit="block", disable=disable):
        block = x[start : start + num_images]
        part = vae.rows(slice(start, start + num_images))
        chunks = [compiled(part, block, tf.constant(count), fold_in(seed, start, i)) for i, count in enumerate(counts)]
        chunks = [np.stack([np.asarray(a, np.float64) for a in part]) for part in chunks]
        blocks.append(_combined(np.stack(chunks, axis=1), np.asarray(counts)[:, np.newaxis]))
    return Measurement(*np.concatenate(blocks, axis=1))


def _compiled(vae):
    """`_measure_chunk` of a model as a graph, traced once for its pieces."""
    pieces = (vae.encoder, vae.decoder, vae.prior)
    traced_for, function = vae.__dict__.get("_measure_cache", (None, None))
    if traced_for is None or any(a is not b for a, b in zip(traced_for, pieces, strict=True)):
        function = tf.function(_measure_chunk, reduce_retracing=True)
        # Past Keras, which would wrap and track the tuple.
        vae.__dict__["_measure_cache"] = (pieces, function)
    return function


def _measure_chunk(vae, x, num_samples, seed):
    """[B] each: means of log p(x|z), the KL and its part of the ELBO, squares about that, log sums of w and w^2."""
    qz_x = vae.encode(x)
    z = qz_x.sample(num_samples, seed=seed)  # [S, B, D]
    log_px_z = vae.decode(z).log_prob(x)
    sampled_kl = qz_x.log_prob(z) - vae.prior.log_prob(z)
    log_w = log_px_z - sampled_kl
    try:  # With an exact KL only log p(x|z) makes the ELBO's estimate noisy, else all of log w.
        kl, noisy = tfd.kl_divergence(qz_x, vae.prior), log_px_z
    except NotImplementedError:
        kl, noisy = tf.reduce_mean(sampled_kl, axis=0), log_w
    mean = tf.reduce_mean(noisy, axis=0)
    return (
        tf.reduce_mean(log_px_z, axis=0),
        kl,
        mean,
        tf.reduce_sum((noisy - mean) ** 2, axis=0),
        tf.reduce_logsumexp(log_w, axis=0),
        tf.reduce_logsumexp(2 * log_w, axis=0),
    )


def _combined(chunks, counts):
    """The columns of a `Measurement` from what the chunks gave, [6, chunks, B]; `counts` [chunks, 1] samples each."""
    num_samples = counts.sum()
    log_px_z, kl, mean, squares, log_sum, log_sum_squares = chunks
    log_likelihood, kl, overall = ((counts * a).sum(0) / num_samples for a in (log_px_z, kl, mean))
    squares = squares.sum(0) + (counts * (mean - overall) ** 2).sum(0)
    log_sum, log_sum_squares = np.logaddexp.reduce(log_sum), np.logaddexp.reduce(log_sum_squares)
    # The delta method: the error of log(mean w) is the relative error of mean w.
    relative_variance = np.exp(log_sum_squares - 2 * log_sum + np.log(num_samples)) - 1
    return np.stack(
        [
            log_likelihood,
            kl,
            log_likelihood - kl,
            np.sqrt(squares / (num_samples - 1) / num_samples),
            log_sum - np.log(num_samples),
            np.sqrt(np.maximum(relative_variance, 0) / (num_samples - 1)),
        ]
    )


class RateDistortion(NamedTuple):
    """A model's place in the plane of rate and distortion, means over examples in nats, each with its standard error.

    Attributes:
        rate: KL(q(z|x) || p(z)), what z tells of x at most.
        distortion: -E_q[log p(x|z)]; rate + distortion = -ELBO.
        rate_standard_error, distortion_standard_error: over the examples.
    """

    rate: float
    distortion: float
    rate_standard_error: float
    distortion_standard_error: float


def rate_distortion(vaes, x, num_samples=100, seed=0):
    """{name: `RateDistortion`} of each model, say of one recipe under several betas.

    Alemi et al. (2018, "Fixing a Broken ELBO", arXiv 1711.00464), eq. 4 and 5. `plots.rate_distortion` draws it.

    Args:
        vaes: {name: VAE}, of the same x and likelihood, so that distortions compare.
        x, num_samples, seed: as for `log_evidence`; the same noise for all. N is at least 2.

    Raises:
        ValueError: `log_evidence`'s, a single example, or no dict.
    """
    if not isinstance(vaes, dict):
        raise ValueError(f"vaes must be a dict, {{name: VAE}}, got {type(vaes).__name__}")
    if len(x) < 2:
        raise ValueError(f"x must hold at least 2 examples for an error over them, got {len(x)}")
    points = {}
    for name, vae in vaes.items():
        measured = measure(vae, x, num_samples, seed)
        terms = np.stack([measured.kl, -measured.log_likelihood])
        errors = terms.std(axis=1, ddof=1) / np.sqrt(terms.shape[1])
        points[name] = RateDistortion(*(float(value) for value in (*terms.mean(axis=1), *errors)))
    return points


def active_units(vae, x, threshold=ACTIVE_THRESHOLD):
    """Which latents are active: booleans [D], True where Var_x(E_q[z|x]) exceeds the threshold.

    Burda et al. (2015, arXiv 1509.00519, section 5.2), with their threshold of 0.01.

    Raises:
        ValueError: fewer than 2 examples, a threshold that is not above 0, or bad x.
    """
    checks.above_zero("threshold", threshold)
    return _posterior_mean_variances(vae, x) > threshold


def _posterior_mean_variances(vae, x, batch_size=1024):
    x = vae.check_support(x)
    if len(x) < 2:
        raise ValueError(f"x must hold at least 2 examples for a variance over them, got {len(x)}")
    parts = [slice(first, first + batch_size) for first in range(0, len(x), batch_size)]
    return np.concatenate([vae.rows(part).encode(x[part]).mean().numpy() for part in parts]).var(axis=0)


def aggregate_posterior(vae, x):
    """q(z) = 1/N sum_n q(z|x_n), a mixture with one component an example: a `tfd.Distribution` over [D].

    Where p(x) is the data's distribution and q(z|x) the exact posterior, q(z) = p(z); a collapsed model has that too.
    """
    qz_x = vae.encode(x)
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(len(x), qz_x.dtype)), qz_x)


def evaluation_card(vae, data, num_samples=5000, seed=0, *, progress=False):
    """What there is to say about a trained model, measured on the test set: a dict that JSON can hold.

    Args:
        vae: a `VAE`; of a `ConditionalVAE` all is given the labels: log p(x|y), and so on.
        data: a `data.ImageData`.
        num_samples: of q(z|x) for each image.
        seed: of the noise.

    Returns:
        At its top level: `elbo`, `log_likelihood`, `kl`, `log_evidence` (means over the test images, nats per image),
        `mc_standard_error` (of log_evidence, over the noise), `elbo_mc_standard_error`, `data_standard_error` (of
        log_evidence, over the images), `bits_per_dim`, `active_units`, `inactive_latents`, `posterior_collapse`, and
        under `how` what was measured and with which samples and seeds. Where the data's factors are known, also
        `disentanglement`, {score: [mean, standard deviation over draws]}.
    """
    given = vae.for_labels(data.y_test)
    measured = measure(given, data.x_test, num_samples, seed, progress=progress)
    variances = _posterior_mean_variances(given, data.x_test)
    active = variances > ACTIVE_THRESHOLD
    known = getattr(data, "factor_sizes", None) is not None
    size = int(np.prod(vae.event_shape))
    mean = {name: float(getattr(measured, name).mean()) for name in ("elbo", "log_likelihood", "kl", "log_evidence")}
    return {
        **mean,
        "mc_standard_error": _error_of_mean(measured.log_evidence_standard_error),
        "elbo_mc_standard_error": _error_of_mean(measured.elbo_standard_error),
        "data_standard_error": float(measured.log_evidence.std(ddof=1) / np.sqrt(len(measured.log_evidence))),
        "bits_per_dim": -mean["log_evidence"] / (size * np.log(2)),
        "active_units": int(active.sum()),
        "inactive_latents": [int(i) for i in np.flatnonzero(~active)],
        "posterior_collapse": _collapse(active, mean["kl"]),
        **({"disentanglement": _scores(vae, data, seed)} if known else {}),
        "how": {
            "units": "nats per image, sums over pixels and latents, means over images",
            "data": data.name,
            "split": "test",
            "num_images": len(data.x_test),
            "binarization": data.binarize or "none",
            "data_seed": data.seed,
            "grey_levels": "continuous" if data.num_levels is None else data.num_levels + 1,
            "support": getattr(vae.decoder, "support", "as the decoder's distribution has it"),
            "num_samples": num_samples,
            "seed": seed,
            "latent_size": vae.latent_size,
            "active_threshold": ACTIVE_THRESHOLD,
            "bits_per_dim": "-log_evidence / (dimensions * log 2); of a density, not a mass, where x is continuous",
            **({"disentanglement": _SCORE_SIZES | {"draws": _SCORE_SEEDS}} if known else {}),
            **({"given": list(given.condition)} if given.condition else {}),
        },
    }


def _scores(vae, data, seed):
    """Every score of disentanglement, quickly: {score: [mean, standard deviation over draws]}."""
    encode = disentanglement.means(vae)
    seeds = range(seed, seed + _SCORE_SEEDS)
    found = disentanglement.spread(lambda s: disentanglement.scores(encode, data, seed=s, **_SCORE_SIZES), seeds)
    return {name: list(score) for name, score in found.items()}


def _error_of_mean(errors):
    return float(np.sqrt(np.sum(errors**2)) / len(errors))


def _collapse(active, kl):
    if not active.any():
        return f"complete collapse: q(z|x) is nearly the same for every x (KL {kl:.3f} nats), the decoder ignores z"
    if not active.all():
        return f"partial collapse: {int((~active).sum())} of {len(active)} latents carry nothing of x"
    return "no collapse"


def format_card(card):
    """The card as a table for people."""
    how = card["how"]
    rows = [
        ("log evidence  log p(x)", f"{card['log_evidence']:.2f}", f"+- {card['data_standard_error']:.2f} over images, "
         f"+- {card['mc_standard_error']:.3f} over noise"),
        ("ELBO", f"{card['elbo']:.2f}", f"+- {card['elbo_mc_standard_error']:.3f} over noise"),
        ("log-likelihood  E_q[log p(x|z)]", f"{card['log_likelihood']:.2f}", ""),
        ("KL(q(z|x) || p(z))", f"{card['kl']:.2f}", ""),
        ("gap  log p(x) - ELBO", f"{card['log_evidence'] - card['elbo']:.2f}", ""),
        ("bits per dimension", f"{card['bits_per_dim']:.4f}", ""),
        ("active latents", str(card["active_units"]), f"of {how['latent_size']}; {card['posterior_collapse']}"),
    ]  # fmt: skip
    for name, (mean, deviation) in card.get("disentanglement", {}).items():
        rows.append((name.replace("_", " "), f"{mean:.2f}", f"+- {deviation:.2f} over draws"))
    title = f"{how['num_images']} {how['split']} images of {how['data']}"
    title += ", given their labels" if "given" in how else ""
    notes = f"nats per image; {how['num_samples']} samples an image, seed {how['seed']}"
    notes += f"; binarization: {how['binarization']}"
    lines = [f"  {name:<32}{value:>10}  {note}".rstrip() for name, value, note in rows]
    return "\n".join([title, *lines, f"  ({notes})"])
