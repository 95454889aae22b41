"""The user's own data by name, from files to a trained, measured, exported model."""

import json

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

import tfvae
from tfvae import data, runs
from tfvae.cli import main

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, [40, 6, 6, 3]).astype(np.uint8)


@pytest.fixture
def photos(tmp_path):
    """Two classes of twenty pictures each, 6 x 6, one of them larger."""
    for i, image in enumerate(IMAGES):
        picture = np.repeat(np.repeat(image, 2, 0), 2, 1) if i == 7 else image
        path = tmp_path / "my photos" / ("bird", "cat")[i % 2] / f"{i:02d}.png"
        tf.io.write_file(str(path), tf.io.encode_png(picture))
    return tmp_path / "my photos"


def test_a_folder_is_split_by_class_and_labelled(photos):
    found = data.load(f"folder:{photos}", image_size=6)
    assert (found.name, found.event_shape, found.num_levels) == ("my-photos", (6, 6, 3), 255)
    assert [len(x) for x in (found.x_train, found.x_validation, found.x_test)] == [32, 4, 4]
    assert found.label_names == ("bird", "cat")
    assert [list(np.bincount(y)) for y in (found.y_train, found.y_validation, found.y_test)] == [
        [16, 16],
        [2, 2],
        [2, 2],
    ]
    given = {image.tobytes(): i for i, image in enumerate(IMAGES)}
    read = np.round(np.concatenate([found.x_train, found.x_test]) * 255).astype(np.uint8)
    labels = np.concatenate([found.y_train, found.y_test])
    known = [(given[x.tobytes()], y) for x, y in zip(read, labels, strict=True) if x.tobytes() in given]
    assert len(known) >= 35 and all(i % 2 == y for i, y in known)


def test_a_folder_may_come_split_and_grey_pictures_have_one_channel(tmp_path):
    for split, number in (("train", 12), ("test", 3), ("validation", 2)):
        for i in range(number):
            tf.io.write_file(str(tmp_path / split / f"{i}.png"), tf.io.encode_png(IMAGES[i, ..., :1]))
    found = data.load(f"folder:{tmp_path}", image_size=6)
    assert found.event_shape == (6, 6, 1) and found.y_train is None
    np.testing.assert_array_equal(found.x_validation, found.x_train[:2])
    np.testing.assert_allclose(found.x_test[2], IMAGES[2, ..., :1] / 255, rtol=1e-6)
    assert data.load(f"folder:{tmp_path}", image_size=6, channels=3).event_shape == (6, 6, 3)
    with pytest.raises(ValueError, match="validation_size must be None for data with a validation set, got 3"):
        data.load(f"folder:{tmp_path}", validation_size=3)
    tf.io.write_file(str(tmp_path / "test" / "dog" / "1.png"), tf.io.encode_png(IMAGES[0]))
    (
        (tmp_path / "test" / "0.png").unlink(),
        (tmp_path / "test" / "1.png").unlink(),
        (tmp_path / "test" / "2.png").unlink(),
    )
    with pytest.raises(ValueError, match="path must hold the same classes in each split, got 'dog'"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize("x", [IMAGES, IMAGES[..., 0], IMAGES / np.float32(255), RNG.normal(size=[40, 5])])
def test_numpy_files_hold_bytes_fractions_or_vectors(tmp_path, x):
    y = np.arange(40) % 2
    np.savez(tmp_path / "all.npz", x=x, y=y)
    np.savez(tmp_path / "split.npz", x_train=x[:30], y_train=y[:30], x_test=x[30:], y_test=y[30:])
    found, split = (data.load(f"npz:{tmp_path / name}.npz") for name in ("all", "split"))
    expected = x / 255 if x.dtype == np.uint8 else x
    np.testing.assert_allclose(split.x_test, expected.reshape(40, *found.event_shape)[30:], rtol=1e-5)
    assert (len(found.x_train), len(found.x_test), len(split.x_train)) == (32, 4, 27)
    assert found.num_levels == (255 if x.dtype == np.uint8 else None)
    assert next(iter(found.train(8, labels=True)))[0].shape == (8, *found.event_shape)


def test_rows_between_commas_are_vectors(tmp_path):
    rows = RNG.normal(size=[30, 3])
    np.savetxt(tmp_path / "bare.csv", rows, delimiter=",")
    lines = [",".join(map(str, [*row, i % 2])) for i, row in enumerate(rows)]
    (tmp_path / "named.csv").write_text("\n".join(["a,b,c,label", *lines]))
    bare, named = (data.load(f"csv:{tmp_path / name}.csv") for name in ("bare", "named"))
    assert bare.event_shape == named.event_shape == (3,)
    assert bare.y_test is None and set(named.y_train) == {0, 1}
    everything = np.concatenate([named.x_train, named.x_validation, named.x_test])
    np.testing.assert_allclose(np.sort(everything, 0), np.sort(rows, 0), rtol=1e-6)


def test_tfrecords_say_their_own_shape(tmp_path):
    data.to_tfrecords(IMAGES, tmp_path / "raw", num_shards=3)
    found = data.load(f"tfrecords:{tmp_path}/raw/*")
    assert found.event_shape == (6, 6, 3) and len(found.x_train) == 32
    everything = np.concatenate([found.images[split] for split in ("train", "validation", "test")])
    assert {x.tobytes() for x in everything} == {x.tobytes() for x in IMAGES}


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (lambda p: None, "folder:{}/none", "train must be a folder with PNG or JPEG files, got '.*none'"),
        (lambda p: None, "npz:{}/none.npz", "path must be a file, got .*none.npz, which does not"),
        (lambda p: (p / "a.csv").mkdir(), "csv:{}/a.csv", "path must be a file, got .*a.csv, which is none"),
        (lambda p: (p / "a.npz").write_bytes(b"text"), "npz:{}/a.npz", "a file of numpy.savez, got '.*a.npz'"),
        (lambda p: np.savez(p / "a.npz", z=IMAGES), "npz:{}/a.npz", "path must hold arrays x, or x_train .*, got z in"),
        (
            lambda p: np.savez(p / "a.npz", x_train=IMAGES, x_test=IMAGES[:, :5]),
            "npz:{}/a.npz",
            "path must hold arrays of one shape and type",
        ),
        (lambda p: np.savez(p / "a.npz", x=IMAGES, y=[1, 2]), "npz:{}/a.npz", r"a label for each image, got y \[2\]"),
        (lambda p: np.savez(p / "a.npz", x=IMAGES[:5]), "npz:{}/a.npz", "at least 10 training examples, got 5"),
        (lambda p: (p / "a.csv").write_text("1,2\n3,x\n"), "csv:{}/a.csv", "a.csv': could not convert string 'x'"),
        (lambda p: (p / "a.csv").write_text("1,2\n3,nan\n"), "csv:{}/a.csv", "path must hold finite numbers, got"),
        (lambda p: (p / "a.csv").write_text("a,label\n1,0.5\n"), "csv:{}/a.csv", "integers from 0 in its column label"),
        (lambda p: None, "tfrecords:{}/*", "path must match at least one file, got"),
        (lambda p: (p / "a").write_bytes(b"text"), "tfrecords:{}/a", "TFRecord files of examples with a feature image"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(tmp_path, make, name, message):
    make(tmp_path)
    with pytest.raises((ValueError, OSError), match=message):
        data.load(name.format(tmp_path))


def test_the_command_line_trains_on_a_folder_and_knows_its_data_again(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["train", "--data", "folder:my photos", "--image-size", "6", "--filters", "4", "--latent-size", "2"]
    command += ["--epochs", "2", "--batch-size", "8", "--evaluation-samples", "4", "--conditional"]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    run = tmp_path / "runs/my-photos-1"
    card = json.loads((run / runs.CARD).read_text())
    assert (card["how"]["data"], card["how"]["labels"]) == ("my-photos", ["bird", "cat"])
    assert (tmp_path / "saved_models/my-photos/1/model_card.json").exists() and (run / "samples.png").exists()
    assert tfvae.load(run).recipe.likelihood == "discretized_logistic"
    told = CliRunner().invoke(main, ["encode", str(run), "--to", "latents.csv", "--split", "all"])
    assert "latents.csv: 40 examples" in told.output
    first, *rows = (tmp_path / "latents.csv").read_text().splitlines()
    assert first == "split,label,importance_bound,loc_0,loc_1,scale_0,scale_1" and len(rows) == 40
    others = CliRunner().invoke(
        main, ["encode", str(run), "--to", "a.npz", "--data", "folder:my photos/", "--split", "train"]
    )
    assert others.exit_code == 0, others.output
    assert np.load(tmp_path / "a.npz")["loc"].shape == (32, 2)
    (photos / "bird" / "00.png").unlink()
    told = CliRunner().invoke(main, ["evaluate", str(run)])
    assert told.exit_code == 1 and "data must be those that the run was started with" in told.output


def test_the_command_line_trains_on_vectors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt("rows.csv", RNG.normal(size=[40, 3]), delimiter=",")
    command = ["train", "--data", "csv:rows.csv", "--epochs", "2", "--batch-size", "8", "--evaluation-samples", "4"]
    told = CliRunner().invoke(main, command)
    assert told.exit_code == 0, told.output
    assert (tmp_path / "saved_models/rows/1/saved_model.pb").exists()
