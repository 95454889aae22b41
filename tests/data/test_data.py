import gzip
import itertools

import numpy as np
import pytest
import tf_keras as tfk
from conftest import ROOT
from sklearn.model_selection import train_test_split

from tfvae import data

SHARES_OF_MNIST = [0.099, 0.112, 0.099, 0.102, 0.097, 0.09, 0.099, 0.104, 0.098, 0.099]  # of 0 ... 9, in 60,000


def epoch(dataset):
    return np.concatenate([x.numpy() for x in dataset])


def rows(x):
    """The images as a sorted list, so that sets of them can be compared."""
    return sorted(image.tobytes() for image in x)


def test_digits_are_split_once_and_stratified(digits):
    assert [len(x) for x in (digits.x_train, digits.x_validation, digits.x_test)] == [1293, 144, 360]
    assert digits.event_shape == (8, 8, 1)
    for labels in (digits.y_train, digits.y_validation, digits.y_test):
        shares = np.bincount(labels, minlength=10) / len(labels)
        assert np.all(np.abs(shares - 0.1) < 0.02)
    again = data.load("digits", seed=7)
    np.testing.assert_array_equal(digits.x_test, again.x_test)
    np.testing.assert_array_equal(digits.x_train, again.x_train)


def test_digits_count_ink_in_sixteenths(digits):
    assert digits.num_levels == 16
    assert digits.x_train.dtype == np.float32
    counts = 16 * digits.x_train
    np.testing.assert_array_equal(counts, np.round(counts))
    assert (counts.min(), counts.max()) == (0, 16)


def test_an_epoch_holds_every_image_once_in_a_new_order(digits):
    dataset = digits.train(100)
    first, second = epoch(dataset), epoch(dataset)
    assert rows(first) == rows(second) == rows(digits.x_train)
    assert not np.array_equal(first, second)
    assert [len(x) for x in dataset] == [100] * 12 + [93]


def test_order_is_a_function_of_seed_and_epoch(digits):
    dataset = digits.train(100)
    epochs = [epoch(dataset) for _ in range(3)]
    np.testing.assert_array_equal(epoch(digits.train(100, first_epoch=2)), epochs[2])
    assert not np.array_equal(epoch(data.load("digits", seed=1).train(100)), epochs[0])


def test_the_order_of_static_bits_is_that_of_the_grey_levels(digits):
    """Which bits an image has does not depend on when it is read."""
    for seed in (0, 1):
        static, grey = (data.load("digits", binarize, seed) for binarize in ("static", None))
        place = {image.tobytes(): i for i, image in enumerate(grey.x_train)}
        order = [place[image.tobytes()] for image in epoch(grey.train(100))]
        np.testing.assert_array_equal(epoch(static.train(100)), static.x_train[order])


def test_stochastic_binarization_is_fresh_and_right_on_average():
    images = data.load("digits", binarize="stochastic")
    grey = data.load("digits")
    assert images.num_levels == 1
    dataset = images.train(1293)
    draws = np.stack([np.sort(epoch(dataset).sum(axis=(1, 2, 3))) for _ in range(2)])
    assert not np.array_equal(draws[0], draws[1])
    total = np.array([epoch(dataset).sum() for _ in range(50)])
    error = np.sqrt((grey.x_train * (1 - grey.x_train)).sum() / 50)
    assert abs(total.mean() - grey.x_train.sum()) < 5 * error
    assert set(np.unique(epoch(dataset))) == {0, 1}


def test_held_out_images_are_binarized_once_by_the_seed():
    for binarize in ("static", "stochastic"):
        first, again, other = (data.load("digits", binarize=binarize, seed=s) for s in (0, 0, 1))
        np.testing.assert_array_equal(first.x_test, again.x_test)
        assert not np.array_equal(first.x_test, other.x_test)
        np.testing.assert_array_equal(epoch(first.test(50)), first.x_test)
        np.testing.assert_array_equal(epoch(first.validation(50)), first.x_validation)


def test_no_two_sets_are_binarized_by_the_same_draws():
    grey = np.full([40, 4, 4, 1], 0.5, np.float32)
    images = data.from_arrays(grey, grey, validation_size=20, binarize="static")
    sets = (images.x_train, images.x_validation, images.x_test[:20])
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(sets, 2))


def test_static_binarization_does_not_change_from_epoch_to_epoch():
    images = data.load("digits", binarize="static")
    dataset = images.train(100)
    assert rows(epoch(dataset)) == rows(epoch(dataset)) == rows(images.x_train)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_the_users_own_arrays(dtype):
    x = np.random.default_rng(0).integers(0, 256, (40, 6, 5)).astype(np.uint8)
    given = x if dtype == np.uint8 else (x / 255).astype(dtype)
    images = data.from_arrays(given[:30], given[30:], np.arange(30) % 2, validation_size=6)
    assert (images.event_shape, images.num_levels) == ((6, 5, 1), 255 if dtype == np.uint8 else None)
    assert [len(a) for a in (images.x_train, images.x_validation, images.x_test)] == [24, 6, 10]
    np.testing.assert_allclose(images.x_test[..., 0], x[30:] / 255, rtol=1e-6)
    assert np.bincount(images.y_validation).tolist() == [3, 3]


def test_mnist_is_checked_by_its_content(tmp_path, monkeypatch):
    path = tmp_path / "mnist.npz"
    np.savez(path, **{name: np.zeros((2, 28, 28), np.uint8) for name in ("x_train", "y_train", "x_test", "y_test")})
    monkeypatch.setenv("TFVAE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"x_train must be MNIST's published array, got other content in .*mnist.npz"):
        data.load("mnist")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(
        ValueError, match=r"path must hold MNIST's four arrays, got .*, which is corrupt: File is not a zip file"
    ):
        data.load("mnist", path=path)
    with pytest.raises(FileNotFoundError, match=r"path .* must be mnist.npz or its folder, got .*nowhere"):
        data.load("mnist", path=tmp_path / "nowhere")


def test_without_a_network_the_error_says_what_to_do(monkeypatch):
    def no_network():
        raise Exception("URL fetch failure on somewhere")

    monkeypatch.delenv("TFVAE_DATA", raising=False)
    for name in ("mnist", "fashion_mnist", "cifar10"):
        monkeypatch.setattr(getattr(tfk.datasets, name), "load_data", no_network)
        with pytest.raises(OSError, match=r"URL fetch failure.* by hand.*'digits' needs no download"):
            data.load(name)


def test_an_altered_download_is_not_trained_on(tmp_path, monkeypatch):
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"other"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    x, y = np.zeros((2, 28, 28), np.uint8), np.zeros(2)
    monkeypatch.setattr(tfk.datasets.fashion_mnist, "load_data", lambda: ((x, y), (x, y)))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte.gz must have MD5 8d4fb7e6"):
        data.load("fashion_mnist")


def test_mnist_itself():
    try:
        images = data.load("mnist", binarize="stochastic")
    except OSError as error:
        pytest.skip(f"MNIST is not here: {error}")
    assert [len(a) for a in images.images.values()] == [55_000, 5_000, 10_000]
    assert images.event_shape == (28, 28, 1)
    assert next(iter(images.train(32))).shape == (32, 28, 28, 1)


def test_mnist10k_needs_no_download_and_keeps_the_proportions_of_the_labels():
    part = data.load("mnist10k", binarize="static")
    assert [len(x) for x in part.images.values()] == [9_000, 1_000, 2_000]
    assert part.event_shape == (28, 28, 1) and set(np.unique(part.x_train)) == {0, 1}
    for labels in (part.y_train, part.y_validation, part.y_test):
        np.testing.assert_allclose(np.bincount(labels) / len(labels), SHARES_OF_MNIST, atol=5e-3)


def test_mnist10k_is_the_part_that_its_notice_names():
    try:
        whole = data.load("mnist", validation_size=0)
    except OSError as error:
        pytest.skip(f"MNIST is not here: {error}")
    part = data.load("mnist10k", validation_size=0)
    for split, size in (("train", 10_000), ("test", 2_000)):
        x, y = whole.images[split], whole.labels[split]
        kept = np.sort(train_test_split(np.arange(len(y)), train_size=size, stratify=y, random_state=0)[0])
        np.testing.assert_array_equal(part.images[split], x[kept])
        np.testing.assert_array_equal(part.labels[split], y[kept])


def arrays(x_train, x_test=None, **options):
    return lambda: data.from_arrays(x_train, x_train if x_test is None else x_test, **options)


GREY = np.full((9, 4, 4), 0.5, np.float32)
BINARY = np.arange(9 * 16, dtype=np.uint8).reshape(9, 4, 4) % 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.load("digts"), r"name must be one of mnist10k, digits, .*got 'digts' \(did you mean digits"),
        (
            lambda: data.load("digits", binarize="staic"),
            r"binarize must be one of None, static.* \(did you mean static",
        ),
        (lambda: data.load("digits", validation_size=-1), r"validation_size must be an integer in \[0, 1436\], got -1"),
        (
            lambda: data.load("digits").train(0),
            "batch_size must be an integer of at least 1, got 0",
        ),
        (lambda: data.load("digits").train(1294), "batch_size must be at most the number of images, 1293, got 1294"),
        (lambda: data.load("digits").train(10, first_epoch=-1), "first_epoch must be an integer of at least 0, got -1"),
        (
            lambda: data.load("digits", validation_size=0).validation(1),
            r"validation_size must be at least 1 to have a validation set, got 0",
        ),
        (arrays(GREY[:0]), r"x_train must be images .*got shape \(0, 4, 4\)"),
        (arrays(GREY[0]), r"x_train must be images .*got shape \(4, 4\)"),
        (arrays(2 * GREY + 0.5), r"x_train must be finite and in \[0, 1\], got 1.5"),
        (arrays(GREY * np.nan), r"x_train must be finite and in \[0, 1\], got nan"),
        (arrays(GREY.astype(int)), "x_train must be uint8 or floats, got int64"),
        (arrays(GREY, GREY[:, :3]), r"x_test must have the image shape and dtype of x_train"),
        (arrays(GREY, y_train=[1, 2]), r"y_train must hold a label for each of the 9 images, got \[2\]"),
        (arrays(GREY, y_train=np.eye(9)), r"y_train must hold a label for each of the 9 images, got \[9, 9\]"),
        (arrays(BINARY), "x_train must be bytes up to 255, which means 1, got 0 and 1 alone"),
        (arrays(np.uint8(255 * GREY), BINARY), "x_test must be bytes up to 255, which means 1, got 0 and 1 alone"),
        (arrays(np.ma.masked_array(GREY, GREY > 0)), "x_train must have no masked values, got 144"),
        (
            arrays(GREY, y_train=np.ma.masked_array(range(9), [True] * 9), validation_size=0),
            "y_train must have no masked values, got 9",
        ),
        (
            arrays(GREY, y_train=range(9), validation_size=4),
            "validation_size must be 0 where a class has a single image, got 4",
        ),
        (
            arrays(np.concatenate([GREY, GREY]), y_train=np.arange(18) // 2, validation_size=8),
            "validation_size must hold and leave an image for each of the 9 classes, of 18, got 8",
        ),
        (
            arrays(GREY, y_train=[None, 1, 2] * 3, validation_size=3),
            "y_train must be an array of integers or of words, got",
        ),
        (
            lambda: arrays(GREY, y_train=np.full(9, 2**64 - 1, np.uint64), validation_size=3)().num_classes,
            r"labels of arrays must be below 2\^63, got 18446744073709551615",
        ),
        (lambda: data.load("digits", seed=None), "seed must be an integer of at least 0, got None"),
        (lambda: data.load("digits", seed="abc"), "seed must be an integer of at least 0, got 'abc'"),
        (lambda: data.load("digits", seed=np.nan), "seed must be an integer of at least 0, got nan"),
        (lambda: data.load("digits", seed=2**63), r"seed must be below 2\^63, got 9223372036854775808"),
        (
            lambda: data.load("digits", validation_size=0.5),
            r"validation_size must be an integer in \[0, 1436\], got 0.5",
        ),
        (arrays(GREY, validation_size=9), r"validation_size must be an integer in \[0, 8\], got 9"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_repository_holds_no_mnist():
    root = ROOT
    assert not list(root.glob("**/mnist.npz"))
