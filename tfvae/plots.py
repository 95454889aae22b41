"""Pictures, by matplotlib alone. Every function returns the `Figure`; none shows or writes it."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from scipy.stats import norm

from tfvae.support.rules import Array, FromZero, Positive, Rows, checked

__all__ = ["STYLE", "blocks", "images", "latent_scatter", "manifold", "mutual_information", "rate_distortion"]
__all__ += ["reconstructions", "samples", "training_curves", "traversals"]


def __dir__():
    return __all__


# Okabe and Ito's palette, safe for colour-blind readers.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
STYLE: Any = {
    "axes.prop_cycle": plt.cycler(color=COLORS),
    "figure.dpi": 100,
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "legend.frameon": False,
}


@checked
def images(
    x: Array,
    *,
    columns: int = 10,
    titles: Sequence | None = None,
    row_labels: Sequence | None = None,
    scale: Positive = 0.9,
) -> Figure:
    """A grid of images [N, H, W, C] in [0, 1], row by row; one channel is shown inverted, as ink on paper.

    >>> len(tfvae.plots.images(np.zeros([6, 8, 8, 1]), columns=3).axes)
    6

    Args:
        titles: one for each image.
        row_labels: one for each row, to its left.

    Raises:
        ValueError: no images, or such as would be blank, of NaN or of bytes; another number of labels.
    """
    x = _visible(x, 4)
    rows = -(-len(x) // columns)
    for argument, labels, number in (("titles", titles, len(x)), ("row_labels", row_labels, rows)):
        if labels is not None and len(labels) != number:
            raise ValueError(f"{argument} must be {number}, got {len(labels)}")
    height, top, gap = (1.3, 0.9, 0.3) if titles is not None else (1, 1, 0.06)
    figure, axes = plt.subplots(rows, columns, figsize=(columns * scale, rows * scale * height), squeeze=False)
    for i, axis in enumerate(axes.flat):
        axis.axis("off")
        if i < len(x):
            _show(axis, x[i])
            if titles is not None:
                axis.set_title(titles[i], fontsize=9)
    if row_labels is not None:
        for axis, label in zip(axes[:, 0], row_labels, strict=True):
            axis.text(-0.15, 0.5, label, transform=axis.transAxes, ha="right", va="center", fontsize=11)
    figure.subplots_adjust(0 if row_labels is None else 0.08, 0, 1, top, 0.06, gap)
    return figure


@checked
def blocks(x: Array, row_labels: Sequence, column_labels: Sequence, *, scale: Positive = 1.6) -> Figure:
    """A table of small mosaics, each nearly square, say of models by their settings.

    >>> len(tfvae.plots.blocks(np.zeros([1, 2, 9, 8, 8, 1]), ["row"], ["first", "second"]).axes)
    2

    Args:
        x: images [R, C, N, H, W, channels] in [0, 1], N for each of R x C cells.
        row_labels, column_labels: R and C labels.
    """
    x = _visible(x, 6)
    rows, columns, num = x.shape[:3]
    for argument, labels, number in (("row_labels", row_labels, rows), ("column_labels", column_labels, columns)):
        if len(labels) != number:
            raise ValueError(f"{argument} must be {number}, got {len(labels)}")
    axes: Any
    size = columns * scale, rows * scale
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for row, column in np.ndindex(rows, columns):
        axis = axes[row, column]
        _show(axis, _mosaic(x[row, column], int(np.ceil(np.sqrt(num)))))
        axis.set(xticks=[], yticks=[])
        if row == 0:
            axis.set_title(column_labels[column], fontsize=11)
        if column == 0:
            axis.set_ylabel(row_labels[row], fontsize=11)
    return figure


@checked
def reconstructions(vae, x: Rows, *, num: int = 10) -> Figure:
    """Images and, under each, the mean of p(x|z) at the mean of q(z|x).

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> len(tfvae.plots.reconstructions(vae, np.zeros([3, 8, 8, 1])).axes)
    6
    """
    x = np.asarray(x)[:num]
    return images(np.concatenate([x, vae.reconstruct(x)]), columns=len(x), row_labels=["x", "x'"])


@checked
def samples(vae, *, num: int = 100, columns: int = 10, seed: int = 0) -> Figure:
    """Means of p(x|z) for z ~ p(z); of a conditional model (`num` is ignored) one label a row and one z a column.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> len(tfvae.plots.samples(vae, num=4, columns=2).axes)
    4
    """
    if not vae.num_classes:
        return images(vae.generate(num, seed=seed), columns=columns)
    rows = [vae.given(label).generate(columns, seed) for label in range(vae.num_classes)]
    return images(np.concatenate(rows), columns=columns, row_labels=range(vae.num_classes))


@checked
def traversals(vae, x: Array, *, dimensions: Sequence[int] | None = None, reach: float = 3.0, num: int = 9) -> Figure:
    """One row a latent: the mean of p(x|z) for values from -reach to reach, the other latents at the mean of q(z|x).

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> len(tfvae.plots.traversals(vae, np.zeros([8, 8, 1]), dimensions=[0, 2], num=3).axes)
    6

    Args:
        x: one image [H, W, C].
        dimensions: which latents; default: all.
    """
    _check_latents(vae, dimensions)
    loc = np.asarray(vae.encode(np.asarray(x)[np.newaxis]).mean())[0]
    dimensions = range(len(loc)) if dimensions is None else dimensions
    values = np.linspace(-reach, reach, num, dtype=loc.dtype)
    z = np.tile(loc, (len(dimensions), num, 1))  # [rows, num, D]
    for row, dimension in enumerate(dimensions):
        z[row, :, dimension] = values
    labels = [f"z[{dimension}]" for dimension in dimensions]
    return images(vae.decode(z.reshape(-1, len(loc))).mean(), columns=num, row_labels=labels)


@checked
def manifold(vae, *, num: int = 15, dimensions: tuple[int, int] = (0, 1), tail: float = 0.02) -> Figure:
    """Means of p(x|z) on a grid of prior quantiles of two latents, the others at 0; needs at least two latents.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.plots.manifold(vae, num=5).axes[0].get_xlabel()
    'z[0]'

    Args:
        num: images a side.
        tail: prior probability beyond each edge of the grid.
    """
    _check_latents(vae, dimensions, 2)
    if not 0 < tail < 0.5:
        raise ValueError(f"tail must be in (0, 0.5), got {tail}")
    values = norm.ppf(np.linspace(tail, 1 - tail, num))
    z = np.zeros((num, num, vae.latent_size), np.float32)
    z[..., dimensions[0]] = values
    z[..., dimensions[1]] = values[::-1, np.newaxis]
    x = vae.decode(z.reshape(-1, vae.latent_size)).mean()
    x = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))  # a gap between neighbours
    height, width = x.shape[1:3]
    figure, axis = plt.subplots(figsize=(6, 6), layout="constrained")
    _show(axis, _mosaic(x, num))
    shown = np.linspace(0, num - 1, 5).round().astype(int)
    axis.set_xticks((shown + 0.5) * width - 1, [f"{values[i]:.1f}" for i in shown])
    axis.set_yticks((shown + 0.5) * height - 1, [f"{values[::-1][i]:.1f}" for i in shown])
    axis.set(xlabel=f"z[{dimensions[0]}]", ylabel=f"z[{dimensions[1]}]")
    return figure


@checked
def latent_scatter(
    vae,
    x: Array,
    labels: np.ndarray | None = None,
    *,
    dimensions: tuple[int, int] = (0, 1),
    num_ellipses: FromZero = 50,
    ax: Axes | None = None,
) -> Figure:
    """Means of q(z|x) in two latents, with one-standard-deviation ellipses of the first few.

    Dashed: two standard deviations of N(0, I). Points with labels, integers [N], are coloured numerals. Drawn on the
    axes `ax`, or in a new figure.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.plots.latent_scatter(vae, np.zeros([3, 8, 8, 1])).axes[0].get_ylabel()
    'z[1]'
    """
    _check_latents(vae, dimensions, 2)
    qz_x = vae.encode(x)
    loc, covariance = np.asarray(qz_x.mean()), np.asarray(qz_x.covariance())
    if labels is not None and np.shape(labels) != (len(loc),):
        raise ValueError(f"labels must be {len(loc)}, one an image, got shape {np.shape(labels)}")
    i, j = dimensions
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 6))
    if labels is None:
        ax.scatter(loc[:, i], loc[:, j], s=8)
    else:
        labels = np.asarray(labels)
        for k, label in enumerate(np.unique(labels)):
            of_label = loc[labels == label]
            color = plt.get_cmap("tab10")(k % 10)
            ax.scatter(of_label[:, i], of_label[:, j], s=36, marker=f"${label}$", color=color, linewidths=0.3)
    for k in range(min(num_ellipses, len(loc))):
        block = covariance[k][np.ix_([i, j], [i, j])]
        ax.add_patch(_ellipse(loc[k, [i, j]], block, edgecolor="0.4", linewidth=0.7))
    ax.add_patch(_ellipse(np.zeros(2), 4 * np.eye(2), edgecolor="black", linestyle="--"))
    ax.set(xlabel=f"z[{i}]", ylabel=f"z[{j}]")
    ax.set_aspect("equal", adjustable="datalim")
    figure: Any = ax.figure
    return figure


@checked
def rate_distortion(points: dict) -> Figure:
    """Models in the plane of rate and distortion; dashed: the contour of the best ELBO.

    >>> points = {1.0: tfvae.diagnostics.RateDistortion(9, 2, 1, 1), 4.0: tfvae.diagnostics.RateDistortion(3, 5, 1, 1)}
    >>> tfvae.plots.rate_distortion(points).axes[0].get_legend_handles_labels()[1]
    ['ELBO = -8.00']

    Args:
        points: {name: point with `rate` and `distortion`}, as `diagnostics.rate_distortion` gives it.
    """
    if not points or not all(hasattr(point, "distortion") for point in points.values()):
        raise ValueError(f"points must be {{name: point with rate and distortion}}, one or more, got {points}")
    figure, axis = plt.subplots(figsize=(6, 4.5), layout="constrained")
    rates, distortions = np.array([(p.rate, p.distortion) for p in points.values()]).T
    axis.plot(*zip(*sorted(zip(rates, distortions, strict=True)), strict=True), "o-")
    for name, rate, distortion in zip(points, rates, distortions, strict=True):
        axis.annotate(str(name), (rate, distortion), xytext=(5, 5), textcoords="offset points")
    best = np.min(rates + distortions)
    ends = np.array([0, 1.1 * rates.max() + 1])
    axis.plot(ends, best - ends, "--", color="black", label=f"ELBO = {-best:.2f}")
    axis.set(xlabel="rate  KL(q(z|x) || p(z)), in nats", ylabel="distortion  -E_q[log p(x|z)], in nats")
    axis.legend()
    return figure


@checked
def training_curves(history: dict) -> Figure:
    """The ELBO and its two terms against epochs, training (solid) and validation (dashed), of `fit(...).history`.

    >>> history = {"elbo": [-9.0, -8.0], "log_likelihood": [-7.0, -6.0], "kl": [2.0, 2.0]}
    >>> [axis.get_title()[:3] for axis in tfvae.plots.training_curves(history).axes]
    ['ELB', 'log', 'KL(']
    """
    for name in ("elbo", "log_likelihood", "kl"):
        if not len(history.get(name, ())) or not np.isfinite(history[name]).all():
            raise ValueError(f"history must hold finite {name} of one or more epochs, got {history.get(name)}")
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    names = {"elbo": "ELBO", "log_likelihood": "log-likelihood  E_q[log p(x|z)]", "kl": "KL(q(z|x) || p(z))"}
    for axis, (key, title) in zip(axes, names.items(), strict=True):
        curves = {k: history[k] for k in (key, "val_" + key) if k in history}
        for k, values in curves.items():
            style = ("-", "training") if k == key else ("--", "validation")
            axis.plot(1 + np.arange(len(values)), values, style[0], label=style[1])
        axis.set(title=title, xlabel="epoch", ylabel="nats per image")
        # The lower limit ignores the first epochs, whose range dwarfs the rest, but for the KL, which grows.
        low = min(min(values[0 if key == "kl" else len(values) // 20 :]) for values in curves.values())
        high = max(map(max, curves.values()))
        axis.set_ylim(low - 0.05 * (high - low) - 1e-3, high + 0.05 * (high - low) + 1e-3)
    axes[0].legend()
    return figure


@checked
def mutual_information(matrix: np.ndarray, factor_names: Sequence[str]) -> Figure:
    """A heat map of `disentanglement.mutual_information` [D, F], in nats, with the names of the F factors.

    >>> len(tfvae.plots.mutual_information(np.eye(4, 2), ["shape", "x"]).axes)  # and a colour bar
    2
    """
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(f"matrix must be finite [D, F], got shape {list(matrix.shape)}")
    if matrix.shape[1] != len(factor_names):
        raise ValueError(f"factor_names must be {matrix.shape[1]}, one a column of matrix, got {len(factor_names)}")
    size = 1.5 + 0.8 * matrix.shape[1], 1 + 0.4 * matrix.shape[0]
    figure, axis = plt.subplots(figsize=size, layout="constrained")
    image = axis.imshow(matrix, cmap="viridis", vmin=0, aspect="auto")
    axis.set_xticks(range(matrix.shape[1]), factor_names)
    axis.set_yticks(range(matrix.shape[0]), [f"z[{j}]" for j in range(matrix.shape[0])])
    axis.spines[:].set_visible(False)
    figure.colorbar(image, label="mutual information, nats")
    return figure


def _visible(x, rank):
    """Images to show; ValueError for such as would be blank."""
    x = np.asarray(x)
    if x.ndim != rank or not x.size:
        raise ValueError(f"x must be images of {rank} axes, one or more, got shape {list(x.shape)}")
    if not (np.min(x) >= -10 and np.max(x) <= 10):  # means of a normal likelihood may leave [0, 1]
        raise ValueError(f"x must be images in [0, 1], got {x.min()} to {x.max()}: divide bytes by 255")
    return x


def _check_latents(vae, dimensions, least=1):
    if vae.latent_size < least:
        raise ValueError(f"vae must have at least {least} latents, got {vae.latent_size}")
    if dimensions is not None and len(dimensions) < least:
        raise ValueError(f"dimensions must be {least} or more, got {dimensions}")
    for dimension in () if dimensions is None else dimensions:
        if not 0 <= dimension < vae.latent_size:
            raise ValueError(f"dimensions must be in [0, {vae.latent_size - 1}], got {dimension}")


def _mosaic(x, across):
    """Images [N, H, W, C] in one, row by row, padded with zeros: [rows * H, across * W, C]."""
    rows = -(-len(x) // across)
    x = np.concatenate([x, np.zeros([rows * across - len(x), *x.shape[1:]], x.dtype)])
    x = x.reshape(rows, across, *x.shape[1:]).swapaxes(1, 2)
    return x.reshape(rows * x.shape[1], across * x.shape[3], -1)


def _show(axis, image):
    if image.shape[-1] == 1:
        axis.imshow(1 - image[..., 0], cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    else:
        axis.imshow(np.clip(image, 0, 1), interpolation="nearest")


def _ellipse(center, covariance, **style):
    """The one-standard-deviation contour of N(center, covariance)."""
    variances, directions = np.linalg.eigh(covariance)
    height, width = 2 * np.sqrt(variances)
    angle = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
    return Ellipse(center, width, height, angle=angle, fill=False, **style)
