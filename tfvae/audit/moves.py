"""Where `audit_loss` looks at a loss: at random perturbations of the encoder's and the decoder's weights.

Every second one is quiet: the decoder's first kernels are 0, so that its output does not depend on z. There the loss
has no noise of z, and its terms are known to rounding, while the encoder and the rest of the decoder move as ever.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np


class Moves:
    """The perturbations `at(i)` of two groups of variables, the encoder's and the decoder's; `restore` ends them."""

    def __init__(self, groups: tuple[list, list], others: list, num: int, seed: int):
        self.start = [[(v, v.numpy()) for v in group] for group in groups]
        self.others = [(v, v.numpy()) for v in others]  # such as moving averages, which a loss may update
        self.reach = 0.2 * 10 ** (np.arange(num) / (num - 1))
        self.seed, self.kernels = seed % 2**64, list[Any]()  # the kernels that are 0 at quiet points

    def restore(self):
        for v, value in itertools.chain(*self.start, self.others):
            v.assign(value)

    def silence(self, depends: Callable[[], bool]):
        """Finds the first kernels of the decoder without which `depends` is False, if any."""
        kernels = [v for v, value in self.start[1] if value.ndim > 1]
        for i, kernel in enumerate(kernels if len(kernels) < len(self.start[1]) else ()):
            kernel.assign(np.zeros(kernel.shape))
            if not depends():
                self.kernels = kernels[: i + 1]
                break
        self.restore()

    def quiet(self, i: int) -> bool:
        return bool(self.kernels) and i % 2 == 0

    def at(self, i: int):
        """Goes to perturbation i: of both networks, the encoder or the decoder in turn, further with i."""
        rng = np.random.default_rng([self.seed, i])
        # Larger steps for the encoder, so that the KL exceeds the noise of the log-likelihood.
        sizes = (2, 1) if self.quiet(i) or not all(self.start) else [(2, 1), (2, 0), (0, 1)][i // 2 % 3]
        zero = {id(kernel) for kernel in self.kernels} if self.quiet(i) else ()
        for v, value in self.others:
            v.assign(value)
        for size, group in zip(sizes, self.start, strict=True):
            for v, value in group:
                moved = value + self.reach[i] * size * rng.normal(size=value.shape) * _rms(value)
                v.assign(0 * value if id(v) in zero else moved)


def _rms(value):
    """The root mean square of a weight; at least 0.5 for biases, which start at 0."""
    size = np.sqrt(np.mean(np.square(value)))
    return size if value.ndim > 1 else max(size, 0.5)
