"""Data sets whose factors are known."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import small_recipe

import tfvae
from tfvae import data, recipes, runs

GRID = (3, 2, 4, 4, 4)


@pytest.fixture(scope="module")
def sprites():
    return data.load("sprites", image_size=32, factor_sizes=GRID)


@pytest.fixture(scope="module")
def sparse():
    """Grey images whose number tells their factors; the combination (0, 0) is missing."""
    factors = np.argwhere(np.ones((3, 5)))[1:][::-1]
    grey = (5 * factors[:, 0] + factors[:, 1]).astype(np.uint8)
    return data.from_factors(np.tile(grey[:, None, None], (1, 4, 4)), factors, factor_names=["a", "b"])


def rows(x):
    return sorted(image.tobytes() for image in x)


def test_the_full_grid_is_there_at_once():
    full = data.load("sprites")
    assert (full.num_images, full.event_shape) == (737_280, (64, 64, 1))
    assert full.factor_sizes == (3, 6, 40, 32, 32)
    assert full.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert [len(full.factors_validation), len(full.factors_test), full.train_size] == [1000, 1000, 735_280]
    assert next(iter(full.train(7))).shape == (7, 64, 64, 1)


def test_splits_are_disjoint_complete_and_the_same_for_every_seed(sprites):
    parts = [sprites.factors_train, sprites.factors_validation, sprites.factors_test]
    assert [len(part) for part in parts] == [308, 38, 38]
    everything = np.argwhere(np.ones(GRID))
    assert rows(np.concatenate(parts)) == rows(everything)
    again = data.load("sprites", seed=5, image_size=32, factor_sizes=GRID)
    np.testing.assert_array_equal(again.factors_test, sprites.factors_test)


def test_each_split_holds_the_images_of_its_factors(sprites):
    np.testing.assert_array_equal(sprites.x_test, sprites.images(sprites.factors_test))
    np.testing.assert_array_equal(np.concatenate(list(sprites.test(10))), sprites.x_test)
    np.testing.assert_array_equal(np.concatenate(list(sprites.validation(10))), sprites.x_validation)
    epoch = np.concatenate(list(sprites.train(50)))
    assert rows(epoch) == rows(sprites.images(sprites.factors_train)) == rows(sprites.x_train)
    assert not np.array_equal(epoch, sprites.x_train)
    np.testing.assert_allclose(sprites.mean_image(), sprites.x_train.mean(axis=0, dtype=np.float64), rtol=1e-12)


def test_factors_are_drawn_uniformly_and_by_the_seed(sprites):
    factors = sprites.sample_factors(20_000, seed=3)
    assert (factors.shape, factors.dtype) == ((20_000, 5), np.int64)
    for column, size in zip(factors.T, GRID, strict=True):
        shares = np.bincount(column, minlength=size) / len(column)
        assert np.abs(shares - 1 / size).max() < 5 * np.sqrt(1 / size / len(column))
    np.testing.assert_array_equal(factors, sprites.sample_factors(20_000, seed=3))
    assert not np.array_equal(factors, sprites.sample_factors(20_000, seed=4))


def test_given_factors_stay_and_the_rest_varies(sprites):
    factors = sprites.sample_given_factors(500, {"shape": 2, "y": 1}, seed=0)
    assert set(factors[:, 0]) == {2} and set(factors[:, 4]) == {1}
    assert [len(set(column)) for column in factors.T[1:4]] == [2, 4, 4]


def test_the_users_own_factors_find_their_images(sparse):
    factors = sparse.sample_factors(200, seed=0)
    grey = np.float32(5 * factors[:, 0] + factors[:, 1]) / np.float32(255)
    np.testing.assert_array_equal(sparse.images(factors)[:, 0, 0, 0], grey)
    assert (sparse.factor_sizes, sparse.num_levels, sparse.num_images) == ((3, 5), 255, 14)
    assert len({tuple(row) for row in factors}) == 14
    given = sparse.sample_given_factors(100, {"a": 0}, seed=0)
    assert set(given[:, 0]) == {0} and set(given[:, 1]) == {1, 2, 3, 4}
    with pytest.raises(ValueError, match=r"factors must have an image, got \[0, 0\], which has none"):
        sparse.images([[1, 1], [0, 0]])


def test_the_published_file_of_dsprites_is_read(tmp_path):
    classes = np.argwhere(np.ones((1, 3, 2, 4, 2, 2)))
    images = np.random.default_rng(0).integers(0, 2, (len(classes), 6, 6)).astype(np.uint8)
    path = tmp_path / "dsprites.npz"
    np.savez(path, imgs=images, latents_classes=classes)
    loaded = data.dsprites(path)
    assert (loaded.factor_sizes, loaded.num_levels, loaded.event_shape) == ((3, 2, 4, 2, 2), 1, (6, 6, 1))
    np.testing.assert_array_equal(loaded.images(classes[:, 1:])[..., 0], images)
    assert next(iter(loaded.train(8))).numpy().max() == 1
    np.savez(path, images=images)
    with pytest.raises(ValueError, match="path must hold imgs and latents_classes"):
        data.dsprites(path)
    with pytest.raises(FileNotFoundError, match=r"path must be a file, got .*nowhere.npz, which does not exist"):
        data.dsprites(tmp_path / "nowhere.npz")


def test_training_reads_sprites_in_the_compiled_step_as_from_a_pipeline(sprites):
    """The same weights, whether the step draws the images or Keras iterates over them."""
    recipe = small_recipe(data="sprites", image_size=32, factor_sizes=GRID).complete(sprites)
    weights = []
    for fast in (True, False):
        vae, train = recipes.build(recipe), sprites.train(64)
        recipes.compile(vae, recipe, sprites.train_size)
        if not fast:
            train.in_memory = None
        vae.fit(train, epochs=1, verbose=0)
        weights.append(vae.get_weights())
    for a, b in zip(*weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_sprites_run_from_recipe_to_card(tmp_path):
    recipe = small_recipe(
        data="sprites",
        image_size=32,
        factor_sizes=GRID,
        network="conv",
        kernel_size=4,
        dense_sizes=(12,),
        epochs=1,
        mean_bias=True,
    )
    vae, _, card = runs.start(recipe, tmp_path / "run", num_samples=10, verbose=False)
    assert (card["how"]["num_images"], card["how"]["data"]) == (38, "sprites")
    loaded = tfvae.load(tmp_path / "run")
    assert loaded.recipe.factor_sizes == GRID
    x = loaded.recipe.load_data().x_test
    np.testing.assert_array_equal(vae.reconstruct(x), loaded.reconstruct(x))
    assert vae.encoder.count_params() == 4 * 4 * 4 + 4 + 4 * 4 * 4 * 8 + 8 + 512 * 12 + 12 + 12 * 4 + 4


IMAGES, FACTORS = np.zeros((4, 2, 2), np.uint8), np.array([[0], [1], [2], [3]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.load("sprites", binarize="static"), "binarize must be None for sprites, .* got 'static'"),
        (lambda: data.load("tfds:dsprites"), r"got 'tfds:dsprites', which has 0 and 1: data.dsprites\(path\) reads"),
        (
            lambda: data.load("digits", image_size=32),
            "image_size must be None unless name is sprites or folder:PATH, got 32",
        ),
        (lambda: data.load("digits", factor_sizes=GRID), "factor_sizes must be None unless name is sprites"),
        (
            lambda: data.load("sprites", image_size=32, factor_sizes=GRID, validation_size=346),
            r"validation_size must be an integer in \[0, 345\], got 346",
        ),
        (lambda: data.from_factors(IMAGES, FACTORS[:3]), "factors must hold a row for each of the 4 images, got 3"),
        (lambda: data.from_factors(IMAGES, FACTORS[:, 0]), r"factors must have shape \[N, F\], got \[4\]"),
        (lambda: data.from_factors(IMAGES, FACTORS / 2), "factors must be integers, got float64"),
        (lambda: data.from_factors(IMAGES, FACTORS - 1), "factors must be at least 0, got -1"),
        (lambda: data.from_factors(IMAGES, FACTORS // 2), r"factors must have no row twice, got \[0\]"),
        (lambda: data.from_factors(IMAGES, FACTORS, factor_names=["a", "b"]), "factor_names must be 1 names"),
        (lambda: data.from_factors(IMAGES + 2, FACTORS, max_level=1), "images must be at most max_level, 1, got 2"),
        (lambda: data.from_factors(IMAGES, FACTORS, max_level=0), "max_level must be an integer of at least 1, got 0"),
        (lambda: data.from_factors(IMAGES, FACTORS, max_level=256), "max_level must be at most 255, got 256"),
        (lambda: data.from_factors(IMAGES, FACTORS, seed=None), "seed must be an integer of at least 0, got None"),
        (
            lambda: data.from_factors(IMAGES, FACTORS.astype(np.uint64) + np.uint64(2**63)),
            r"factors must be below 2\^63, got 9223372036854775",
        ),
        (
            lambda: data.from_factors(IMAGES, np.repeat(FACTORS, 2, axis=1) * 10**10),
            r"factors must have fewer than 2\^63 combinations, got sizes",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda d: d.images([[0, 0, 0, 0, 4]]), r"factors must be in \[0, 3\] for y, got 4"),
        (lambda d: d.images([[0, 0, 0, 0]]), r"factors must have shape \[N, 5\], got \[1, 4\]"),
        (lambda d: d.sample_factors(0, 0), "n must be an integer of at least 1, got 0"),
        (lambda d: d.sample_factors(1, -1), "seed must be an integer of at least 0, got -1"),
        (lambda d: d.sample_given_factors(1, {"size": 0}), "given must be one of shape, scale, .*, got 'size'"),
        (
            lambda d: d.sample_given_factors(1, {"shape": 1.5}),
            r"given\['shape'\] must be an integer of at least 0, got 1.5",
        ),
        (lambda d: d.sample_given_factors(1, {"shape": 3}), r"factors must be in \[0, 2\] for shape, got 3"),
        (lambda d: d.train(309), "batch_size must be at most the number of images, 308, got 309"),
    ],
)
def test_bad_questions_are_refused(sprites, ask, message):
    with pytest.raises(ValueError, match=message):
        ask(sprites)


def test_a_compiled_graph_holds_no_copy_of_the_images(sprites):
    epochs, zero = sprites.train(8).in_memory, tf.zeros([], tf.int64)
    read = tf.function(lambda step: epochs.read(zero, step, tf.range(8)))
    np.testing.assert_array_equal(read(zero), sprites.images(sprites.factors_train[:8]))
    assert read.get_concrete_function(zero).graph.as_graph_def().ByteSize() < 50_000
