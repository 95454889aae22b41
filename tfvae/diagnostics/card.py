"""The evaluation card of a trained model, as a dict for programs and as a table for people."""

from typing import Any

import numpy as np

from tfvae import disentanglement
from tfvae.diagnostics.blocks import error_of_mean
from tfvae.diagnostics.evidence import measure
from tfvae.diagnostics.latents import ACTIVE_THRESHOLD, posterior_mean_variances

# Smaller than the published sizes, so that the scores take seconds.
_SCORE_SIZES: dict[str, Any] = {"num_points": 2000, "num_train": 200, "num_test": 100, "set_size": 16}
_SCORE_SEEDS = 3


def evaluation_card(vae, data, num_samples: int = 5000, seed: int = 0, *, progress: bool = False) -> dict[str, Any]:
    """The model's measurements on the test set, as a dict that JSON can hold.

    Args:
        vae: a `VAE`, or a `ConditionalVAE`, which is conditioned on the labels: log p(x|y), and so on.
        data: a `data.ImageData`.
        num_samples, seed, progress: as for `log_evidence`.

    Returns:
        At its top level: `elbo`, `log_likelihood`, `kl`, `log_evidence` (means over the test images, nats per image),
        `mc_standard_error` (of log_evidence, over the noise), `elbo_mc_standard_error`, `data_standard_error` (of
        log_evidence, over the images), `bits_per_dim`, `active_units`, `inactive_latents`, `posterior_collapse`, and
        under `how` the data, samples and seeds. For data with known factors also `disentanglement`,
        {score: [mean, standard deviation over draws]}.
    """
    given = vae.for_labels(data.y_test)
    measured = measure(given, data.x_test, num_samples, seed, progress=progress)
    variances = posterior_mean_variances(given, data.x_test)
    active = variances > ACTIVE_THRESHOLD
    known = getattr(data, "factor_sizes", None) is not None
    size = int(np.prod(vae.event_shape))
    mean = {name: float(getattr(measured, name).mean()) for name in ("elbo", "log_likelihood", "kl", "log_evidence")}
    return {
        **mean,
        "mc_standard_error": error_of_mean(measured.log_evidence_standard_error),
        "elbo_mc_standard_error": error_of_mean(measured.elbo_standard_error),
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
    """{score: [mean, standard deviation over draws]}."""
    encode = disentanglement.means(vae)
    seeds = range(seed, seed + _SCORE_SEEDS)
    found: Any = disentanglement.spread(lambda s: disentanglement.scores(encode, data, seed=s, **_SCORE_SIZES), seeds)
    return {name: list(score) for name, score in found.items()}


def _collapse(active, kl):
    if not active.any():
        return f"complete collapse: q(z|x) is nearly the same for every x (KL {kl:.3f} nats), the decoder ignores z"
    if not active.all():
        return f"partial collapse: {int((~active).sum())} of {len(active)} latents carry nothing of x"
    return "no collapse"


def format_card(card: dict[str, Any]) -> str:
    """The card as a table."""
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
