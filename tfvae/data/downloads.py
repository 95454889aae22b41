"""Published data sets by Keras' loaders, verified by checksum: (x, y) of training and test set. Errors as in `load`."""

import hashlib
import os
import pathlib

import numpy as np
import tf_keras as tfk

from tfvae.support import files

# SHA-256 of each array's bytes, in the published order.
_MNIST_SHA256 = {
    "x_train": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
    "y_train": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
    "x_test": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
    "y_test": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
}
# MD5 of each file, from the data set's own page. Keras has a checksum for the others' files.
_FASHION_MNIST_MD5 = {
    "fashion-mnist/train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "fashion-mnist/train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "fashion-mnist/t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "fashion-mnist/t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
_Pair = tuple[np.ndarray, np.ndarray]


def mnist(path: str | pathlib.Path | None = None) -> tuple[_Pair, _Pair]:
    """MNIST, from a file, or from the folder that TFVAE_DATA names, or by Keras' download."""
    path = path or os.environ.get("TFVAE_DATA")
    if path is None:
        train, test = _downloaded("mnist")
        arrays, source = dict(zip(_MNIST_SHA256, (*train, *test), strict=True)), "Keras' mnist.npz"
    else:
        file = files.local("path (or TFVAE_DATA)", path)
        source = str(file / "mnist.npz" if file.is_dir() else file)
        try:
            with np.load(source, allow_pickle=False) as file:
                arrays = {key: file[key] for key in _MNIST_SHA256}
        except FileNotFoundError:
            raise FileNotFoundError(f"path (or TFVAE_DATA) must be mnist.npz or its folder, got {source}") from None
        except Exception as error:  # zip, zlib and NumPy raise different ones for broken bytes
            raise ValueError(f"path must hold MNIST's four arrays, got {source}, which is corrupt: {error}") from None
    for key, sha256 in _MNIST_SHA256.items():
        if hashlib.sha256(arrays[key].tobytes()).hexdigest() != sha256:
            raise ValueError(f"{key} must be MNIST's published array, got other content in {source}")
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])


def fashion_mnist() -> tuple[_Pair, _Pair]:
    """Fashion-MNIST, by Keras' download."""
    try:
        return _downloaded("fashion_mnist")
    finally:  # also if Keras cannot read a file
        for file, md5 in _FASHION_MNIST_MD5.items():
            path = _keras_folder() / file
            if path.exists() and hashlib.md5(path.read_bytes()).hexdigest() != md5:
                raise ValueError(f"{path} must have MD5 {md5}, got other content: remove it to download it again")


def cifar10() -> tuple[_Pair, _Pair]:
    """CIFAR-10, by Keras' download."""
    (x_train, y_train), (x_test, y_test) = _downloaded("cifar10")
    return (x_train, y_train.ravel()), (x_test, y_test.ravel())


def _downloaded(name):
    try:
        return getattr(tfk.datasets, name).load_data()
    except Exception as error:  # Keras raises bare exceptions for the network, others for broken files
        wanted = {"mnist": "mnist.npz", "cifar10": "cifar-10-batches-py.tar.gz"}.get(
            name, ", ".join(_FASHION_MNIST_MD5)
        )
        reason = " ".join(str(error).split())[:200]
        or_else = ", or name a file or folder in TFVAE_DATA" if name == "mnist" else ""
        raise OSError(
            f"name must be a data set that can be had here, got {name!r}: Keras' download failed ({reason}). "
            f"Without a network, put {wanted} into {_keras_folder()} by hand{or_else}; 'digits' needs no download"
        ) from None


def _keras_folder():
    return pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras")) / "datasets"
