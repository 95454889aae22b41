import os
import sys
import types

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_recipe

from tfvae import data, recipes

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 6, 3)).astype(np.uint8)
SHAPE = (4, 6, 3)


def epoch(dataset):
    return np.concatenate([x.numpy() for x in dataset])


def rows(x):
    """The images as a sorted list, so that sets of them can be compared."""
    return sorted(image.tobytes() for image in x)


@pytest.fixture(scope="module")
def pattern(tmp_path_factory):
    """Five files of twelve images each."""
    folder = tmp_path_factory.mktemp("records") / "train"
    data.to_tfrecords(IMAGES, folder, num_shards=5)
    return str(folder / "*.tfrecord")


@pytest.fixture(scope="module")
def stream(pattern):
    return data.from_tfrecords(pattern, SHAPE, validation=pattern, shuffle_buffer=8, count=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The images as PNG files, in two folders below."""
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(IMAGES):
        path = folder / f"{i % 2}" / f"{i:02d}.{'png' if i % 3 else 'PNG'}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    (folder / "notes.txt").write_text("no image")
    return folder


def test_what_was_written_is_read_in_order(stream):
    np.testing.assert_array_equal(epoch(stream.validation(7)), IMAGES.astype(np.float32) / 255)
    assert (stream.event_shape, stream.num_levels, stream.num_images) == (SHAPE, 255, 60)


def test_an_epoch_holds_every_image_once_in_a_new_order(pattern):
    dataset = data.from_tfrecords(pattern, SHAPE, shuffle_buffer=8).train(7)
    first, second = epoch(dataset), epoch(dataset)
    assert rows(first) == rows(second) == rows(IMAGES.astype(np.float32) / 255)
    assert not np.array_equal(first, second)
    assert [len(x) for x in dataset] == [7] * 8 + [4]


def test_order_is_a_function_of_seed_and_epoch(pattern, stream):
    dataset = stream.train(7)
    epochs = [epoch(dataset) for _ in range(3)]
    tf.random.set_seed(7)
    np.testing.assert_array_equal(epoch(stream.train(7)), epochs[0])
    np.testing.assert_array_equal(epoch(stream.train(7, first_epoch=2)), epochs[2])
    assert not np.array_equal(epoch(data.from_tfrecords(pattern, SHAPE, seed=1).train(7)), epochs[0])


def test_files_are_read_in_turn_and_images_drawn_from_the_buffer(pattern):
    """With a buffer of one, the first five images are the first of each file; with a buffer they are not."""
    firsts = rows(IMAGES[::12].astype(np.float32) / 255)
    assert rows(epoch(data.from_tfrecords(pattern, SHAPE, shuffle_buffer=1).train(5))[:5]) == firsts
    assert rows(epoch(data.from_tfrecords(pattern, SHAPE, shuffle_buffer=60).train(5))[:5]) != firsts


@pytest.mark.parametrize("binarize", [None, "stochastic"])
def test_fit_reads_the_epochs_that_iteration_gives(pattern, binarize):
    stream = data.from_tfrecords(pattern, SHAPE, binarize=binarize, count=True)
    dataset = stream.train(7)
    read = iter(dataset.from_epoch(1))
    epoch(dataset)
    for _ in range(2):
        for expected in dataset:
            np.testing.assert_array_equal(next(read), expected)


@pytest.mark.parametrize("count", [2, 5, 7])
def test_shards_are_disjoint_and_complete(stream, count):
    shards = [epoch(stream.train(3, shard=(i, count))) for i in range(count)]
    assert rows(np.concatenate(shards)) == rows(IMAGES.astype(np.float32) / 255)
    assert all(len(x) == stream.sources["train"].num_images(i, count) for i, x in enumerate(shards))


def test_a_worker_opens_its_own_files_alone(tmp_path):
    paths = data.to_tfrecords(IMAGES, tmp_path / "two", num_shards=2)
    stream = data.from_tfrecords(str(tmp_path / "two" / "*"), SHAPE)
    paths[1].unlink()
    assert rows(epoch(stream.train(7, shard=(0, 2)))) == rows(IMAGES[:30].astype(np.float32) / 255)
    with pytest.raises(tf.errors.NotFoundError):
        epoch(stream.train(7, shard=(1, 2)))


def test_stochastic_binarization_is_fresh_and_right_on_average(pattern):
    stream = data.from_tfrecords(pattern, SHAPE, binarize="stochastic")
    assert stream.num_levels == 1
    dataset, grey = stream.train(60), IMAGES / 255
    draws = np.stack([epoch(dataset) for _ in range(20)])
    assert set(np.unique(draws)) == {0, 1}
    error = np.sqrt((grey * (1 - grey)).sum() / 20)
    assert abs(draws.sum() / 20 - grey.sum()) < 5 * error


def test_no_two_draws_share_their_noise(tmp_path):
    """Between images, batches, epochs and shards: all images are the same grey."""
    data.to_tfrecords(np.full_like(IMAGES, 128), tmp_path / "grey", num_shards=2)
    dataset = data.from_tfrecords(str(tmp_path / "grey" / "*"), SHAPE, binarize="stochastic")
    shards = [dataset.train(7, shard=(i, 2)) for i in range(2)]
    draws = np.concatenate([epoch(shard) for shard in shards for _ in range(2)])
    assert len(set(rows(draws))) == len(draws) == 120


def test_no_two_sets_of_a_stream_share_their_static_bits(tmp_path):
    data.to_tfrecords(np.full_like(IMAGES, 128), tmp_path / "grey", num_shards=2)
    files = str(tmp_path / "grey" / "*")
    dataset = data.from_tfrecords(files, SHAPE, validation=files, test=files, binarize="static")
    draws = np.concatenate([epoch(images) for images in (dataset.train(7), dataset.validation(7), dataset.test(7))])
    assert len(set(rows(draws))) == len(draws) == 180


def test_static_binarization_belongs_to_the_image_and_is_right_on_average(pattern):
    def binary(seed):
        return data.from_tfrecords(pattern, SHAPE, test=pattern, binarize="static", seed=seed)

    dataset = binary(0).train(7)
    first = epoch(dataset)
    shards = [epoch(binary(0).train(5, shard=(i, 7))) for i in range(7)]
    assert rows(first) == rows(epoch(dataset)) == rows(np.concatenate(shards)) != rows(epoch(binary(1).train(7)))
    draws = np.stack([epoch(binary(seed).test(60)) for seed in range(10)])
    grey = IMAGES / 255
    error = np.sqrt((grey * (1 - grey)).sum(axis=0) / 10)
    assert np.all(np.abs(draws.mean(axis=0).sum(axis=0) - grey.sum(axis=0)) < 5 * error)


def test_held_out_images_are_binarized_once_by_the_seed(pattern):
    stream = data.from_tfrecords(pattern, SHAPE, test=pattern, binarize="stochastic")
    np.testing.assert_array_equal(epoch(stream.test(7)), epoch(stream.test(60)))


def test_a_folder_of_images_is_read_in_order_and_shuffled_whole(folder):
    stream = data.from_image_folder(folder, SHAPE, test=folder)
    grey = np.concatenate([IMAGES[::2], IMAGES[1::2]]).astype(np.float32) / 255
    np.testing.assert_array_equal(epoch(stream.test(7)), grey)
    dataset = stream.train(7)
    first, second = epoch(dataset), epoch(dataset)
    assert rows(first) == rows(second) == rows(grey)
    assert not np.array_equal(first, second)
    assert (stream.num_images, len(dataset)) == (60, 9)
    shards = [epoch(stream.train(7, shard=(i, 4))) for i in range(4)]
    assert rows(np.concatenate(shards)) == rows(grey)


def test_of_a_folder_hidden_files_are_left_out_and_links_are_followed(tmp_path):
    content = tf.io.encode_png(IMAGES[0]).numpy()
    for name in ("a.png", "below/b.JPG", "._0.png", ".ipynb_checkpoints/a.png", "below/.Trash-1000/c.png", "notes.txt"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "far").mkdir()
    (tmp_path / "far/c.png").write_bytes(content)
    (tmp_path / "images/link").symlink_to(tmp_path / "far")
    (tmp_path / "images/below/loop").symlink_to(tmp_path / "images")
    os.mkfifo(tmp_path / "images/pipe.png")
    stream = data.from_image_folder(tmp_path / "images", SHAPE)
    taken = "3 files taken (.png, .jpg, .jpeg)"
    assert stream.summary == {"folder": f"{taken}; left out: 1 .txt, 3 hidden, 1 no file"}
    assert len(epoch(stream.train(3))) == 3
    (tmp_path / "far/d.gif").write_bytes(b"GIF89a")
    with pytest.warns(UserWarning, match="folder must hold PNG or JPEG files .*1 .gif") as caught:
        data.from_image_folder(tmp_path / "images", SHAPE)
    assert caught[0].filename == __file__
    few = pytest.raises(ValueError, match="path must hold at least 10 training examples, got 3")
    with pytest.warns(UserWarning, match="train must hold PNG or JPEG files .*1 .gif"), few:
        data.load(f"folder:{tmp_path / 'images'}", image_size=6)
    (tmp_path / "images" / os.fsdecode(b"caf\xe9.png")).write_bytes(content)
    with pytest.raises(ValueError, match=r"folder must hold names in UTF-8, got b'.*caf\\xe9.png'"):
        data.from_image_folder(tmp_path / "images", SHAPE)
    with pytest.raises(ValueError, match="folder must be a path on this machine, got 'gs://bucket'"):
        data.from_image_folder("gs://bucket", SHAPE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "validation must hold PNG or JPEG files, got one that starts with nothing in .*bad.png$"),
        (b"GIF89a", "validation must hold PNG or JPEG files, got one that starts with GIF in .*bad.png$"),
        (
            tf.io.encode_png(IMAGES[0]).numpy()[:-20],
            "validation must hold whole files, got one that is cut off after bytes: .* in .*bad.png$",
        ),
        (
            tf.io.encode_jpeg(IMAGES[0]).numpy()[:-20],
            "validation must hold whole files, got one that is cut off after bytes: .* in .*bad.png$",
        ),
        (
            tf.io.encode_png(IMAGES[0].astype(np.uint16)).numpy(),
            "validation must hold pictures of at most 8 bits a channel, got 16 in .*bad.png$",
        ),
    ],
)
def test_a_bad_picture_is_named_before_anything_is_trained(folder, tmp_path, content, message):
    (tmp_path / "bad.png").write_bytes(content)
    (tmp_path / "good.png").write_bytes(tf.io.encode_png(IMAGES[0]).numpy())
    with pytest.raises(ValueError, match=message):
        data.from_image_folder(folder, SHAPE, validation=tmp_path)


def test_images_of_another_size_are_resized(tmp_path):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, 17::4] = stripes[:, 18::4] = 200  # what lies at the centres of the blocks of four alone would give 200
    (tmp_path / "a.jpg").write_bytes(tf.io.encode_jpeg(stripes, quality=100).numpy())
    (x,) = epoch(data.from_image_folder(tmp_path, (4, 8, 1)).train(1))
    assert x.shape == (4, 8, 1)
    np.testing.assert_allclose(x[:, [0, 6], 0], [[0, 100 / 255]] * 4, atol=3 / 255)
    np.testing.assert_array_equal(255 * x, np.round(255 * x))


def test_records_of_encoded_images(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "png")) as writer:
        for image in IMAGES[:5]:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.encode_png(image).numpy()]))
            features = tf.train.Features(feature={"picture": value})
            writer.write(tf.train.Example(features=features).SerializeToString())
    options = {"feature": "picture", "encoding": "image"}
    stream = data.from_tfrecords([tmp_path / "png"], SHAPE, test=tmp_path / "png", **options)
    np.testing.assert_array_equal(epoch(stream.test(2)), IMAGES[:5].astype(np.float32) / 255)
    with pytest.raises(ValueError, match=r"picture must hold pictures of 4 x 4 pixels, got 4 6 in record 0 of .*png$"):
        data.from_tfrecords([tmp_path / "png"], (4, 4, 3), **options)


def vae_of(stream):
    recipe = small_recipe(batch_size=10).complete(stream)
    vae = recipes.build(recipe)
    vae.compile("adam")
    return vae


def test_fit_counts_epochs_by_itself_and_needs_no_number_of_images(pattern, stream):
    """Counted streams come as one iterator of all epochs, others as an iterator for each."""
    uncounted = data.from_tfrecords(pattern, SHAPE, validation=pattern, shuffle_buffer=8)
    vaes = [vae_of(stream) for _ in range(2)]
    for vae, read in zip(vaes, (stream, uncounted), strict=True):
        vae.fit(read.train(10), epochs=2, validation_data=read.validation(10), verbose=0)
    assert int(vaes[1].optimizer.iterations) == 12
    for weight, expected in zip(vaes[1].weights, vaes[0].weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_fit_names_a_record_of_the_wrong_size(pattern, tmp_path):
    rule = r"image must be the 24 bytes of an image \(4, 6, 1\), got 72 in record \d+ of .*.tfrecord$"
    with pytest.raises(ValueError, match=rule):
        data.from_tfrecords(pattern, (4, 6, 1))
    data.to_tfrecords(IMAGES[..., :1], tmp_path / "first")  # is good
    data.to_tfrecords(IMAGES, tmp_path / "second")
    stream = data.from_tfrecords(str(tmp_path / "*/*"), (4, 6, 1))
    with pytest.raises(ValueError, match=rule):
        vae_of(stream).fit(stream.train(10), verbose=0)


def test_a_file_of_no_such_records_is_named(pattern, tmp_path):
    """At once, if it is the first or all are counted."""
    with pytest.raises(ValueError, match=r"feature absent must be the 72 bytes .*, got 0 in record 0 of .*.tfrecord$"):
        data.from_tfrecords(pattern, SHAPE, feature="absent")
    (tmp_path / "text").write_text("no TFRecord file at all" * 9)
    with tf.io.TFRecordWriter(str(tmp_path / "other")) as writer:
        writer.write(b"no example")
    for name in ("text", "other"):
        with pytest.raises(ValueError, match=f"{name} must hold images that can be read, got "):
            data.from_tfrecords(tmp_path / name, SHAPE)
    with pytest.raises(ValueError, match=r"validation must match TFRecord files, got '.*text': corrupted record"):
        data.from_tfrecords(pattern, SHAPE, validation=[pattern, tmp_path / "text"], count=True)
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match=r"test must match files that hold records, got none in '.*empty'"):
        data.from_tfrecords(pattern, SHAPE, test=tmp_path / "empty", count=True)


def test_fit_says_where_an_uncounted_file_is_broken(tmp_path):
    """Behind the first hundred records, which are read before."""
    (path,) = data.to_tfrecords(np.tile(IMAGES, (200 // len(IMAGES) + 1, 1, 1, 1)), tmp_path / "written")
    content = bytearray(path.read_bytes())
    content[-30] ^= 255
    path.write_bytes(content)
    stream = data.from_tfrecords(path, SHAPE)
    with pytest.raises(ValueError, match=r"whole, got a corrupted record at \d+: from_tfrecords.*count=True.* names"):
        vae_of(stream).fit(stream.train(50), verbose=0)
    with pytest.raises(ValueError, match=r"pattern must match TFRecord files, got '.*tfrecord': corrupted record"):
        data.from_tfrecords(path, SHAPE, count=True)


def test_records_of_0_and_1_are_no_grey_levels(tmp_path):
    with pytest.raises(ValueError, match="images must be bytes up to 255, which means 1, got 0 and 1 alone"):
        data.to_tfrecords(IMAGES % 2, tmp_path / "written")
    with tf.io.TFRecordWriter(str(tmp_path / "foreign")) as writer:
        value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[(IMAGES[0] % 2).tobytes()]))
        writer.write(tf.train.Example(features=tf.train.Features(feature={"image": value})).SerializeToString())
    with pytest.raises(ValueError, match="foreign must be bytes up to 255"):
        data.from_tfrecords(tmp_path / "foreign", SHAPE)


class FakeBuilder:
    """What is used of tensorflow_datasets' builder, on the images above."""

    def __init__(self, splits, image):
        self.info = types.SimpleNamespace(features={"image": image}.items(), splits=splits)
        self.prepared = False

    def download_and_prepare(self):
        self.prepared = True

    def as_dataset(self, split, shuffle_files, read_config):
        assert self.prepared and not shuffle_files
        name, _, span = split.rstrip("]").partition("[")
        images = IMAGES[50:] if name == "test" else IMAGES[:50]
        first, _, end = span.partition(":")
        images = images[int(first or 0) : int(end or len(images))]
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": np.zeros(len(images))})


@pytest.fixture
def fake_tfds(monkeypatch):
    """A function that installs tensorflow_datasets with one data set, of the given shape of images."""

    def install(shape=SHAPE):
        image = types.SimpleNamespace(shape=shape, dtype=np.uint8)
        splits = {s: types.SimpleNamespace(num_examples=n) for s, n in (("train", 50), ("test", 10))}
        fake = types.SimpleNamespace(
            builder=lambda name, data_dir: FakeBuilder(splits, image), ReadConfig=lambda try_autocache: None
        )
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", fake)

    return install


def test_tensorflow_datasets(fake_tfds):
    fake_tfds()
    stream = data.load("tfds:fake", validation_size=8)
    grey = IMAGES.astype(np.float32) / 255
    assert (stream.name, stream.event_shape, stream.num_images) == ("tfds:fake", SHAPE, 42)
    assert rows(epoch(stream.train(10))) == rows(grey[:42])
    np.testing.assert_array_equal(epoch(stream.validation(3)), grey[42:50])
    np.testing.assert_array_equal(epoch(stream.test(3)), grey[50:])
    with pytest.raises(ValueError, match=r"validation_size must be an integer in \[0, 49\], got 50"):
        data.load("tfds:fake", validation_size=50)
    fake_tfds((None, None, 3))
    with pytest.raises(ValueError, match="name must be a data set of uint8 images of one size, got 'tfds:fake'"):
        data.load("tfds:fake")


def test_without_tensorflow_datasets_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"got 'tfds:mnist': pip install tensorflow-datasets"):
        data.load("tfds:mnist")


def test_a_run_is_not_begun_on_a_stream():
    with pytest.raises(ValueError, match=r"data must be one of mnist10k, digits, .*got 'tfds:mnist'"):
        recipes.Recipe(data="tfds:mnist").load_data()


def test_writing_overwrites_nothing_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    data.to_tfrecords(IMAGES, tmp_path / "a")
    before = (tmp_path / "a" / "images-00000-of-00001.tfrecord").read_bytes()
    with pytest.raises(FileExistsError, match=r"must be a new or an empty directory, got .*a"):
        data.to_tfrecords(IMAGES[:1], tmp_path / "a")
    assert (tmp_path / "a" / "images-00000-of-00001.tfrecord").read_bytes() == before

    def full(**_):
        raise OSError("disk full")

    monkeypatch.setattr(tf.train, "Example", full)
    with pytest.raises(OSError, match="disk full"):
        data.to_tfrecords(IMAGES, tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: data.from_tfrecords("/no/*.tf", SHAPE), r"pattern must match at least one file, got '/no/\*.tf'"),
        (lambda p: data.from_tfrecords(p, SHAPE, test=[p, "/no"]), "test must match at least one file, got '/no'"),
        (lambda p: data.from_tfrecords(p, (4, 6)), r"event_shape must be three integers .* got \(4, 6\)"),
        (lambda p: data.from_tfrecords(p, (4, 0, 3)), r"event_shape must be integers of at least 1, .*got \(4, 0, 3\)"),
        (
            lambda p: data.from_tfrecords(p, (4, 6, 2), encoding="image"),
            r"event_shape must end in 1, 3 or 4 channels .* got \(4, 6, 2\)",
        ),
        (
            lambda p: data.from_tfrecords(p, SHAPE, encoding="rwa"),
            r"encoding must be one of raw, image, got 'rwa' \(did you mean raw",
        ),
        (
            lambda p: data.from_tfrecords(p, SHAPE, binarize="staic"),
            r"binarize must be one of None, static.* \(did you mean static",
        ),
        (lambda p: data.from_tfrecords(p, SHAPE, shuffle_buffer=0), "shuffle_buffer must be .* at least 1, got 0"),
        (lambda p: data.from_tfrecords(p, SHAPE, shuffle_buffer=2**31), "shuffle_buffer must be at most 10000000, got"),
        (lambda p: data.from_tfrecords(p, SHAPE, seed=None), "seed must be an integer of at least 0, got None"),
        (lambda p: data.from_tfrecords(p, SHAPE).train(2**25), r"batch_size must be below 2\^24, got 33554432"),
        (lambda p: data.from_tfrecords(p, SHAPE).train(0), "batch_size must be an integer of at least 1, got 0"),
        (
            lambda p: data.from_tfrecords(p, SHAPE, count=True).train(61),
            "batch_size must be at most the number of images, 60, got 61",
        ),
        (
            lambda p: data.from_tfrecords(p, SHAPE).train(1, first_epoch=-1),
            "first_epoch must be an integer of at least 0, got -1",
        ),
        (
            lambda p: data.from_tfrecords(p, SHAPE).train(1, shard=(2, 2)),
            r"shard must be \(index, count\) with 0 <= index < count, got \(2, 2\)",
        ),
        (
            lambda p: data.from_tfrecords(p, SHAPE).train(1, shard=()),
            r"shard must be \(index, count\) with .*, got \(\)",
        ),
        (
            lambda p: data.from_tfrecords(p, SHAPE).validation(1),
            "validation must be given to have a validation set, got None",
        ),
        (
            lambda p: data.from_image_folder("/nowhere", SHAPE),
            "folder must be a folder with PNG or JPEG files, got '/nowhere'",
        ),
        (lambda p: data.to_tfrecords(IMAGES / 255, p), "images must be uint8 .* got float64"),
        (lambda p: data.to_tfrecords(IMAGES[0], p), r"images must be uint8 \[N, H, W, C\].* got uint8 \(4, 6, 3\)"),
        (lambda p: data.to_tfrecords(IMAGES, p, num_shards=61), "num_shards must be at most .* 60, got 61"),
    ],
)
def test_bad_arguments_are_refused(pattern, make, message):
    with pytest.raises(ValueError, match=message):
        make(pattern)
