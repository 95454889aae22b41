"""Images: published sets, the user's own arrays and files, images of known factors; and how they become batches."""

from tfvae.data import shares
from tfvae.data.batches import Batches
from tfvae.data.epochs import Epochs
from tfvae.data.factors import FactorData, dsprites, from_factors
from tfvae.data.folders import from_image_folder
from tfvae.data.images import ImageData
from tfvae.data.loading import from_arrays, load
from tfvae.data.records import from_tfrecords, to_tfrecords
from tfvae.data.streams import Stream

__all__ = [
    "Batches",
    "Epochs",
    "FactorData",
    "ImageData",
    "Stream",
    "dsprites",
    "from_arrays",
    "from_factors",
    "from_image_folder",
    "from_tfrecords",
    "load",
    "shares",
    "to_tfrecords",
]


def __dir__():
    return __all__
