"""Each score on representations whose score is known: perfect, rotated, noise, redundant, mixed."""

import itertools

import numpy as np
import pytest
from conftest import small_vae
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import train_test_split
from sklearn.svm import LinearSVC

import tfvae
from tfvae import disentanglement


class Grid:
    """Known factors, written into images of one row, from which an encoder can read them."""

    factor_names = ("a", "b", "c")

    def __init__(self, *factor_sizes):
        self.factor_sizes = factor_sizes

    def sample_factors(self, n, seed):
        return np.random.default_rng(seed).integers(0, self.factor_sizes, (n, len(self.factor_sizes)))

    def images(self, factors):
        return (factors[:, np.newaxis, :, np.newaxis] / np.array(self.factor_sizes)[:, np.newaxis]).astype(np.float32)


GRID = Grid(4, 5, 6)
FACTORS = np.array(list(itertools.product(range(4), range(5), range(6))))  # every combination once: no sampling error
SQUARE = np.array(list(itertools.product(range(6), range(6), range(4))))
ROTATED = np.stack([SQUARE[:, 0] + SQUARE[:, 1], SQUARE[:, 0] - SQUARE[:, 1], SQUARE[:, 2]], axis=1)


def read(images):
    """The perfect encoder."""
    return images[:, 0, :, 0]


def noise(images):
    return np.random.default_rng(len(images)).normal(size=(len(images), 3))


def random_points(n=10_000, seed=0):
    factors = GRID.sample_factors(n, seed)
    return np.random.default_rng(seed + 1).normal(size=(n, 5)), factors


def test_mutual_information_of_factors_is_their_entropy():
    information = disentanglement.mutual_information(FACTORS[:, [0, 2]], FACTORS)
    expected = [[np.log(4), 0, 0], [0, 0, np.log(6)]]
    np.testing.assert_allclose(information, expected, atol=1e-12)


def test_latents_are_cut_into_bins_of_equal_width():
    z, factors = random_points(500)
    binned = np.floor((z[:, 0] - z[:, 0].min()) / np.ptp(z[:, 0]) * 7).clip(max=6)
    found = disentanglement.mutual_information(z, factors, num_bins=7)
    np.testing.assert_allclose(found[0, 2], mutual_info_score(binned, factors[:, 2]))


def test_the_largest_value_has_no_bin_of_its_own():
    """Of 0 to 3 two bins hold two values each."""
    factors = np.arange(400)[:, np.newaxis] % 4
    found = disentanglement.mutual_information(factors.astype(float), factors, num_bins=2)
    np.testing.assert_allclose(found, np.log(2))


def test_counted_information_of_noise_is_as_documented():
    z, factors = random_points()
    z = np.random.default_rng(5).uniform(size=z.shape)  # all bins in use
    found = disentanglement.mutual_information(z, factors).mean(axis=0)
    expected = 19 * (np.array(GRID.factor_sizes) - 1) / 2 / len(z)
    np.testing.assert_allclose(found, expected, rtol=0.5)


def test_every_score_of_a_perfect_representation_is_1():
    z = FACTORS * [1.0, -2.0, 0.1] + 3
    assert disentanglement.mig(z, FACTORS) == pytest.approx(1)
    assert disentanglement.modularity(z, FACTORS) == pytest.approx(1)
    assert disentanglement.sap(z, FACTORS) == pytest.approx(1)
    np.testing.assert_allclose(disentanglement.dci(np.tile(z, (20, 1)), np.tile(FACTORS, (20, 1))), 1, atol=1e-6)


def test_a_perfect_categorical_factor_counts_1_less_chance_in_sap():
    expected = np.mean([1 - 1 / 4, 1, 1])
    assert disentanglement.sap(FACTORS, FACTORS, categorical=[0]) == pytest.approx(expected)


def test_dci_of_a_perfect_categorical_factor_is_1():
    z, factors = np.tile(FACTORS, (20, 1)), np.tile(FACTORS, (20, 1))
    np.testing.assert_allclose(disentanglement.dci(z, factors, categorical=[0, 2]), 1, atol=1e-6)


def test_scores_of_two_factors_rotated_into_each_other():
    """By half a right angle: either latent tells of both alike. Only the third factor counts."""
    assert disentanglement.mig(ROTATED, SQUARE) == pytest.approx(1 / 3)
    assert disentanglement.sap(ROTATED, SQUARE) == pytest.approx(1 / 3)
    # Each of the two latents has one factor beside its own, out of two others: 1/2. The third latent has 1.
    assert disentanglement.modularity(ROTATED, SQUARE) == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    found = disentanglement.dci(np.tile(ROTATED, (20, 1)), np.tile(SQUARE, (20, 1)))
    expected = (2 * (1 - np.log(2) / np.log(3)) + 1) / 3  # half and half of two, to base 3
    np.testing.assert_allclose(found[:2], expected, atol=0.05)
    assert found.informativeness > 0.99  # nothing is lost


def test_scores_of_noise():
    z, factors = random_points()
    assert disentanglement.mig(z, factors) < 0.01
    assert disentanglement.sap(z, factors) < 0.01
    found = disentanglement.dci(z, factors)
    assert max(found) < 0.02
    # Modularity sees the counted information of noise, 19 (values - 1) / 2N: squares 9, 16 and 25.
    np.testing.assert_allclose(disentanglement.modularity(z, factors), 1 - (9 + 16) / 25 / 2, atol=0.2)


def test_scores_of_a_redundant_representation():
    """Two latents for each factor: modular, but no gap, and only half complete."""
    z = np.concatenate([FACTORS, -FACTORS], axis=1)
    assert disentanglement.mig(z, FACTORS) == pytest.approx(0)
    assert disentanglement.sap(z, FACTORS) == pytest.approx(0)
    assert disentanglement.modularity(z, FACTORS) == pytest.approx(1)
    found = disentanglement.dci(np.tile(z, (20, 1)), np.tile(FACTORS, (20, 1)), num_trees=200)
    np.testing.assert_allclose(found, [1, 1 - np.log(2) / np.log(6), 1], atol=0.05)


def test_several_factors_in_one_latent_are_incompletely_told():
    z = (FACTORS @ [30, 6, 1])[:, np.newaxis]  # one latent holds all
    assert disentanglement.modularity(z, FACTORS) < 0.8
    found = disentanglement.dci(np.tile(z, (20, 1)), np.tile(FACTORS, (20, 1)))
    np.testing.assert_allclose(found, [0, 1, 1], atol=1e-3)


def test_an_idle_latent_changes_little():
    z = np.concatenate([FACTORS, np.zeros((120, 2))], axis=1)
    assert disentanglement.mig(z, FACTORS) == pytest.approx(1)
    assert disentanglement.sap(z, FACTORS) == pytest.approx(1)
    assert disentanglement.modularity(z, FACTORS) == pytest.approx(3 / 5)
    np.testing.assert_allclose(disentanglement.dci(np.tile(z, (20, 1)), np.tile(FACTORS, (20, 1))), 1, atol=1e-6)


@pytest.mark.parametrize("score", [disentanglement.beta_vae_score, disentanglement.factor_vae_score])
def test_of_a_single_factor_scores_by_intervention_are_chance(score):
    """Which is 1. And latents that are not finite have no score."""
    sizes = {"num_train": 20, "num_test": 10, "set_size": 8}
    assert score(read, Grid(1, 5, 1), **sizes) == 1
    with pytest.raises(ValueError, match="latents must be finite, got nan"):
        score(lambda x: read(x) * np.nan, GRID, **{**sizes, "num_train": 30})


@pytest.mark.parametrize("score", [disentanglement.beta_vae_score, disentanglement.factor_vae_score])
def test_scores_by_intervention(score):
    sizes = {"num_train": 300, "num_test": 300, "set_size": 32}
    assert score(read, GRID, **sizes) > 0.99
    chance = 5 * np.sqrt(1 / 3 * 2 / 3 / 300)
    assert abs(score(noise, GRID, **sizes) - 1 / 3) < chance
    assert score(read, GRID, **sizes, seed=1) == score(read, GRID, **sizes, seed=1)


@pytest.mark.parametrize("score", [disentanglement.beta_vae_score, disentanglement.factor_vae_score])
def test_rotation_confounds_scores_by_intervention(score):
    """Which of the two rotated factors was held fixed, neither latent tells: a guess."""

    def rotated(images):
        z = read(images)
        return np.stack([z[:, 0] + z[:, 1], z[:, 0] - z[:, 1], z[:, 2]], axis=1)

    found = score(rotated, Grid(6, 6, 4), num_train=300, num_test=300, set_size=64)
    np.testing.assert_allclose(found, 2 / 3, atol=0.1)


def test_inactive_latents_have_no_vote():
    def with_idle(images):
        return np.concatenate([read(images), np.full((len(images), 1), 0.5)], axis=1)  # always of the least variance

    sizes = {"num_train": 100, "num_test": 100, "set_size": 32}
    assert disentanglement.factor_vae_score(with_idle, GRID, **sizes) > 0.99
    assert disentanglement.factor_vae_score(lambda images: 0 * read(images), GRID, **sizes) == 0


@pytest.mark.parametrize(("size", "score"), [(0.2, 1), (0.16, 0)])
def test_a_latent_votes_from_a_standard_deviation_of_a_twentieth_on(size, score):
    """A factor of n values has one of sqrt((1 - 1 / n^2) / 12) here: 0.28."""
    sizes = {"num_train": 100, "num_test": 100, "set_size": 32}
    found = disentanglement.factor_vae_score(lambda images: size * read(images), GRID, **sizes)
    np.testing.assert_allclose(found, score, atol=0.02)


def test_all_scores_of_an_encoder_and_their_spread():
    sizes = {"num_points": 2000, "num_train": 60, "num_test": 60, "set_size": 16}
    found = disentanglement.spread(lambda seed: disentanglement.scores(read, GRID, **sizes, seed=seed), range(3))
    names = {"mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness", "modularity"}
    assert found.keys() == names | {"beta_vae_score", "factor_vae_score"}
    for name, score in found.items():
        assert score.mean > 0.9 and score.standard_deviation < 0.05, name
    some = disentanglement.scores(read, GRID, ["mig"], num_points=2000)
    latents, factors = disentanglement.draw(read, GRID, 2000)
    assert some == {"mig": disentanglement.mig(latents, factors)}


def test_scores_draw_by_their_seed():
    sizes = {"num_train": 60, "num_test": 30, "set_size": 8, "seed": 3}
    found = disentanglement.scores(noise, GRID, ["beta_vae_score", "factor_vae_score"], num_points=200, **sizes)
    expected = [getattr(disentanglement, name)(noise, GRID, **sizes) for name in found]
    others = [getattr(disentanglement, name)(noise, GRID, **sizes | {"seed": 0}) for name in found]
    assert list(found.values()) == expected != others


def test_spread_is_of_the_values():
    assert disentanglement.spread(lambda seed: 2.0 * seed, (1, 2, 3)) == (4.0, 2.0)


def test_factors_of_one_value_are_left_out():
    data = Grid(1, 4, 5)
    _, factors = disentanglement.draw(read, data, 200)
    assert factors.shape == (200, 2)
    data.categorical = (0, 1)
    found = disentanglement.scores(
        read, data, ["mig", "sap", "beta_vae_score"], num_points=1000, num_train=50, num_test=50
    )
    assert found["sap"] == pytest.approx((1 - 1 / 4 + 1) / 2, abs=0.05)
    assert found["mig"] == pytest.approx(1, abs=0.05)


def test_the_means_of_a_model_are_scored(digits):
    vae = small_vae(digits)
    np.testing.assert_allclose(
        disentanglement.means(vae)(digits.x_test[:9]), vae.encode(digits.x_test[:9]).mean(), rtol=1e-5, atol=1e-6
    )


Z, V = random_points(400)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: disentanglement.mig(Z, None), "factors must be an array of numbers, got None"),
        (lambda: disentanglement.mig(Z[:, 0], V), r"latents must have shape \[N, D\], got \[400\]"),
        (
            lambda: disentanglement.mig(Z, V[:9]),
            r"factors must have shape .* with the N of latents, 400, got \[9, 3\]",
        ),
        (lambda: disentanglement.mig(Z, V * 0.5), "factors must hold integers, got float64"),
        (lambda: disentanglement.mig(Z * np.nan, V), "latents must be finite, got nan"),
        (lambda: disentanglement.sap(Z, V * [1, 0, 1]), "factors must vary, got one value alone in column 1"),
        (lambda: disentanglement.sap(Z[:99], V[:99]), "latents must hold at least 100 points for this score, got 99"),
        (lambda: disentanglement.mig(Z[:119], V[:119]), "latents must hold at least 120 points for 20 bins, got 119"),
        (lambda: disentanglement.mig(Z, V, num_bins=0), "num_bins must be an integer of at least 1, got 0"),
        (lambda: disentanglement.sap(Z, V, categorical=[3]), "categorical must hold indices of the 3 factors, got 3"),
        (lambda: disentanglement.sap(Z, V, predictor="tree"), "predictor must be one of regression, svm, got 'tree'"),
        (lambda: disentanglement.dci(Z, V, predictor="svm"), "predictor must be one of forest, boosting, got 'svm'"),
        (lambda: disentanglement.dci(Z, V, num_trees=0), "num_trees must be an integer of at least 1, got 0"),
        (lambda: disentanglement.scores(read, GRID, ["migg"]), r"names must be one of .*got 'migg' \(did you mean mig"),
        (
            lambda: disentanglement.scores(read, V),
            "data must have known factors, got ndarray, which has no factor_sizes",
        ),
        (lambda: disentanglement.beta_vae_score(read, GRID, num_train=29), "num_train must be at least 10 for each of"),
        (lambda: disentanglement.factor_vae_score(read, GRID, set_size=0), "set_size must be an integer of at least 1"),
        (lambda: disentanglement.draw(read, Grid(1, 1)), "data must have a factor of at least 2 values"),
        (lambda: disentanglement.scores(read, GRID, 5), "names must be a list or a tuple, got 5"),
        (lambda: disentanglement.dci(Z, V, seed=2**32), r"seed must be below 2\^32, got 4294967296"),
        (lambda: disentanglement.draw(lambda x: None, GRID), r"encode must give latents \[n, D\], got shape \[\]"),
        (lambda: disentanglement.spread(lambda seed: None), r"score\(seed\) must be a finite number, got None"),
        (lambda: disentanglement.spread(float, [1]), r"seeds must be at least 2, each once, got \[1\]"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_module_is_public():
    assert tfvae.disentanglement is disentanglement


EACH = np.indices((4, 5, 10)).reshape(3, 200).T  # every combination of three factors once


@pytest.mark.parametrize("size", [1e-30, 1e-9, 1e9])
def test_scores_do_not_depend_on_the_unit_of_the_latents(size):
    latents = size * EACH
    assert [getattr(disentanglement, name)(latents, EACH) for name in ("mig", "sap", "modularity")] == [1, 1, 1]
    assert disentanglement.dci(latents, EACH) == (1, 1, 1)


@pytest.mark.parametrize("constant", [0.0, 1.0, 1e30])
def test_constant_latents_score_zero(constant):
    latents = np.full([200, 3], constant)
    assert [getattr(disentanglement, name)(latents, EACH) for name in ("mig", "sap", "modularity")] == [0, 0, 0]
    np.testing.assert_allclose(disentanglement.dci(latents, EACH), 0, atol=1e-12)


@pytest.mark.parametrize("name", ["mig", "sap", "dci", "modularity"])
@pytest.mark.parametrize(("latents", "factors"), [(EACH[:, :1], EACH), (EACH, EACH[:, :1]), (EACH[:, :1], EACH[:, :1])])
def test_one_latent_or_one_factor_has_a_score(name, latents, factors):
    found = np.atleast_1d(getattr(disentanglement, name)(latents.astype(float), factors))
    assert np.all((found >= 0) & (found <= 1))


def test_an_outlier_that_leaves_the_bins_empty_is_reported():
    latents = EACH.astype(float)
    latents[0] = 1e6
    with pytest.warns(UserWarning, match=r"latents must spread over the bins, got 199 of 200 .* range is 0 to 1e\+06"):
        assert disentanglement.mig(latents, EACH) < 0.1


def test_the_variants_are_those_of_disentanglement_lib():
    """Its formulas, as in its sap_score.py and dci.py, on the same points: SVMs on one latent each, boosted trees."""
    rng = np.random.default_rng(0)
    factors = GRID.sample_factors(600, 0)
    mixed = factors @ np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]]) + 0.3 * rng.normal(size=[600, 3])
    z_train, z_test, v_train, v_test = train_test_split(mixed, factors, test_size=1 / 3, random_state=0)
    accuracy = np.zeros([3, 3])
    for j, k in itertools.product(range(3), range(3)):
        svm = LinearSVC(C=0.01, class_weight="balanced").fit(z_train[:, [j]], v_train[:, k])
        accuracy[j, k] = np.mean(svm.predict(z_test[:, [j]]) == v_test[:, k])
    ordered = np.sort(accuracy, axis=0)
    assert disentanglement.sap(mixed, factors, predictor="svm") == pytest.approx(
        np.mean(ordered[-1] - ordered[-2]), abs=1e-9
    )
    scaled = (mixed - mixed.mean(axis=0)) / mixed.std(axis=0)
    z_train, z_test, v_train, v_test = train_test_split(scaled, factors, test_size=0.2, random_state=0)
    trees = [GradientBoostingClassifier(random_state=0).fit(z_train, v) for v in v_train.T]
    importance = np.transpose([tree.feature_importances_ for tree in trees])
    share = importance / importance.sum(axis=1, keepdims=True)
    of_codes = 1 + np.sum(share * np.log(share), axis=1) / np.log(3)
    of_factors = 1 + np.sum(importance * np.log(importance), axis=0) / np.log(3)
    expected = [
        np.average(of_codes, weights=importance.sum(axis=1)),
        of_factors.mean(),
        np.mean([np.mean(tree.predict(z_test) == v) for tree, v in zip(trees, v_test.T, strict=True)]),
    ]
    np.testing.assert_allclose(disentanglement.dci(mixed, factors, predictor="boosting"), expected, atol=1e-9)


def test_an_encoder_is_scored_by_the_variants():
    sizes = {"num_points": 1000, "num_train": 60, "num_test": 30, "set_size": 8}
    found = disentanglement.scores(read, GRID, disentanglement.VARIANTS, **sizes)
    parts = ["dci_boosting_disentanglement", "dci_boosting_completeness", "dci_boosting_informativeness"]
    assert list(found) == ["sap_svm", *parts, "factor_vae_score_all"]
    np.testing.assert_allclose([found[name] for name in (*parts, "factor_vae_score_all")], 1, atol=0.01)
