import numpy as np
import pytest
from conftest import small_vae
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from tfvae import diagnostics, plots


def test_every_picture_is_a_figure(trained_vae, digits):
    history = {"elbo": [-9, -8], "val_elbo": [-9, -8], "log_likelihood": [-7, -6], "kl": [2, 2]}
    for figure in (
        plots.images(digits.x_test[:7], columns=3, titles=list("abcdefg")),
        plots.images(np.random.default_rng(0).random((4, 5, 5, 3))),
        plots.reconstructions(trained_vae, digits.x_test),
        plots.samples(trained_vae, num=12),
        plots.traversals(trained_vae, digits.x_test[0]),
        plots.manifold(trained_vae, num=5),
        plots.latent_scatter(trained_vae, digits.x_test, digits.y_test),
        plots.latent_scatter(trained_vae, digits.x_test),
        plots.training_curves(history),
        plots.mutual_information(np.eye(4, 3), ["shape", "x", "y"]),
        plots.rate_distortion({0.5: diagnostics.RateDistortion(9, 2, 1, 1), 2: diagnostics.RateDistortion(3, 5, 1, 1)}),
    ):
        assert isinstance(figure, Figure)
        figure.canvas.draw()


def test_traversals_vary_one_latent_a_row(trained_vae, digits):
    figure = plots.traversals(trained_vae, digits.x_test[0], dimensions=[2], num=5)
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert len(shown) == 5
    loc = trained_vae.encode(digits.x_test[:1]).mean().numpy()
    loc[0, 2] = 0.0
    np.testing.assert_allclose(1 - shown[2], trained_vae.decode(loc).mean()[0, ..., 0], atol=1e-5)


def test_ellipses_are_one_standard_deviation_of_q(digits):
    vae = small_vae(digits, posterior="full_normal")
    figure = plots.latent_scatter(vae, digits.x_test[:3], num_ellipses=3)
    ellipses = [patch for patch in figure.axes[0].patches if isinstance(patch, Ellipse)]
    assert len(ellipses) == 4
    qz_x = vae.encode(digits.x_test[:3])
    for i in range(3):
        rim = ellipses[i].get_patch_transform().transform(ellipses[i].get_path().interpolated(1).vertices[:-1])
        on_rim = rim[::3] - qz_x.mean()[i]
        inverse = np.linalg.inv(qz_x.covariance()[i])
        np.testing.assert_allclose(np.einsum("ni,ij,nj->n", on_rim, inverse, on_rim), 1, rtol=1e-2)


def test_each_factor_has_its_column():
    figure = plots.mutual_information(np.eye(4, 3), ["shape", "x", "y"])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), np.eye(4, 3))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["shape", "x", "y"]
    with pytest.raises(ValueError, match="factor_names must be 3, one a column of matrix, got 2"):
        plots.mutual_information(np.eye(4, 3), ["x", "y"])


def test_ink_is_black():
    figure = plots.images(np.ones((1, 2, 2, 1)), columns=1)
    assert np.all(figure.axes[0].images[0].get_array() == 0)


def test_each_row_of_images_has_its_label():
    figure = plots.images(np.ones((5, 2, 2, 1)), columns=2, row_labels=["a", "b", "c"])
    assert [[text.get_text() for text in axis.texts] for axis in figure.axes[::2]] == [["a"], ["b"], ["c"]]


def test_a_table_of_mosaics_shows_each_cell_row_by_row():
    x = np.arange(2 * 3 * 5 * 4 * 2, dtype=np.float32).reshape(2, 3, 5, 4, 2, 1) / 240
    figure = plots.blocks(x, ["a", "b"], ["1", "2", "3"])
    shown = [1 - axis.images[0].get_array() for axis in figure.axes]
    assert [axis.get_ylabel() for axis in figure.axes[::3]] == ["a", "b"]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["1", "2", "3"]
    first, second = (np.concatenate(list(half), axis=1) for half in (x[1, 2, :3, ..., 0], x[1, 2, 3:, ..., 0]))
    np.testing.assert_allclose(shown[5][:4], first, atol=1e-6)
    np.testing.assert_allclose(shown[5][4:, :4], second, atol=1e-6)
    assert np.all(shown[5][4:, 4:] == 0)


def test_one_latent_has_no_plane(digits):
    vae = small_vae(digits, latent_size=1)
    for call in (lambda: plots.manifold(vae), lambda: plots.latent_scatter(vae, digits.x_test[:3])):
        with pytest.raises(ValueError, match="vae must have at least 2 latents, got 1"):
            call()
