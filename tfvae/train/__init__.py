"""How training runs: a fast `fit`, optimizers, averaged weights, TensorBoard, several devices and machines.

What a step computes is in `vae`; what is maximised in `objectives`; where a run lives on disk in `runs`.
"""

from tfvae.train import strategies
from tfvae.train.averaging import AveragedWeights
from tfvae.train.fit import VAE
from tfvae.train.loop import Loop, xla_pays
from tfvae.train.muon import Muon, orthogonal
from tfvae.train.tensorboard import Curves

__all__ = ["VAE", "AveragedWeights", "Curves", "Loop", "Muon", "orthogonal", "strategies", "xla_pays"]


def __dir__():
    return __all__
