import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from conftest import small_vae

from tfvae import objectives

tfd = tfp.distributions
N = 6
PRIOR = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64), tf.ones(2, tf.float64))


@pytest.fixture(scope="module")
def qz_x():
    """q(z|x_n) of a data set of six examples, two latents, correlated within and over the examples."""
    rng = np.random.default_rng(0)
    loc = rng.normal(size=(N, 2)) @ np.array([[1.0, 0.7], [0.0, 0.5]])
    return tfd.MultivariateNormalTriL(loc, [[[0.6, 0.0], [a, 0.4]] for a in np.linspace(-0.3, 0.5, N)])


def quadrature(qz_x, num=60):
    """Points z [num^2, N, 2] and weights [num^2] that integrate over each q(z|x_n) by Gauss and Hermite's rule."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num)
    grid = np.array(list(itertools.product(nodes, repeat=2)))
    z = qz_x.mean() + np.einsum("nij,sj->sni", qz_x.scale.to_dense(), grid)
    return z, np.prod(list(itertools.product(weights / weights.sum(), repeat=2)), axis=1)


def test_the_three_parts_sum_to_the_kl(qz_x):
    """By enumeration of the data set and integration over z: the mean of the closed-form KL, to 1e-5."""
    z, weights = quadrature(qz_x)
    found = [float(np.mean(weights @ part.numpy())) for part in objectives.parts(qz_x, PRIOR, z, N)]
    np.testing.assert_allclose(sum(found), np.mean(tfd.kl_divergence(qz_x, PRIOR)), rtol=0, atol=1e-5)
    assert min(found) > 0.02
    assert found[0] < np.log(N)  # a code tells at most which example it is


def test_the_parts_are_what_their_names_say(qz_x):
    """With the whole data set as the batch, q(z) is the mixture and q(z_j) are its marginals, exactly."""
    z = qz_x.sample(20, seed=[0, 1])
    uniform = tfd.Categorical(logits=tf.zeros(N, tf.float64))
    log_qz = tfd.MixtureSameFamily(uniform, qz_x).log_prob(z)
    log_product = sum(
        tfd.MixtureSameFamily(uniform, tfd.Normal(qz_x.mean()[:, j], qz_x.stddev()[:, j])).log_prob(z[..., j])
        for j in range(2)
    )
    found = objectives.parts(qz_x, PRIOR, z, N)
    np.testing.assert_allclose(found.mutual_information, qz_x.log_prob(z) - log_qz, atol=1e-12)
    np.testing.assert_allclose(found.total_correlation, log_qz - log_product, atol=1e-12)
    np.testing.assert_allclose(found.dimension_wise_kl, log_product - PRIOR.log_prob(z), atol=1e-12)


def estimated_qz(qz_x, z, rows):
    """q(z) of the first of the rows' samples, as a batch of these rows estimates it."""
    batch = tfd.MultivariateNormalTriL(tf.gather(qz_x.mean(), rows), tf.gather(qz_x.scale.to_dense(), rows))
    found = objectives.parts(batch, PRIOR, tf.gather(z, rows, axis=1), N)
    return np.exp(batch.log_prob(tf.gather(z, rows, axis=1)) - found.mutual_information)[0, 0]


@pytest.mark.parametrize("batch_size", [2, 3])
def test_over_all_batches_the_stratified_estimate_of_q_of_z_is_exact(qz_x, batch_size):
    z = qz_x.sample(1, seed=[0, 2])
    others = itertools.combinations(range(1, N), batch_size - 1)
    mean = np.mean([estimated_qz(qz_x, z, [0, *rest]) for rest in others])
    np.testing.assert_allclose(mean, np.mean(qz_x.prob(z[:, :1])), rtol=1e-12)


def test_the_stratified_estimate_is_the_papers_averaged_over_which_example_comes_last(qz_x):
    z, rows = qz_x.sample(1, seed=[0, 2]), [0, 2, 3, 5]
    density = qz_x.prob(z[:, :1])[0].numpy()
    rest = len(rows) - 1
    by_the_paper = [
        density[0] / N
        + sum(density[row] for row in rows[1:] if row != last) / rest
        + (N - rest) / (N * rest) * density[last]
        for last in rows[1:]
    ]
    np.testing.assert_allclose(estimated_qz(qz_x, z, rows), np.mean(by_the_paper), rtol=1e-12)


def test_independent_latents_have_no_total_correlation():
    """On a product grid of codes q(z) factorises: TC is 0 at every z."""
    loc = np.array(list(itertools.product([-1.0, 0.0, 2.0], [0.5, 3.0])))
    qz_x = tfd.MultivariateNormalDiag(loc, np.full((6, 2), 0.3))
    found = objectives.parts(qz_x, PRIOR, qz_x.sample(50, seed=[0, 4]), 6)
    np.testing.assert_allclose(found.total_correlation, np.zeros((50, 6)), atol=1e-12)


def test_equal_codes_carry_no_information():
    qz_x = tfd.MultivariateNormalDiag(np.ones((4, 2)), np.full((4, 2), 0.3))
    found = objectives.parts(qz_x, PRIOR, qz_x.sample(50, seed=[0, 4]), 100)
    np.testing.assert_allclose(found.mutual_information, np.zeros((50, 4)), atol=1e-12)


def test_with_weights_of_one_it_is_the_elbo(digits):
    vae, x = small_vae(digits), digits.x_test[:9]
    terms, plain = (f(vae, x, seed=3) for f in (objectives.tc_elbo(1293, 1.0), objectives.elbo))
    for a, b in zip(terms, plain, strict=True):
        np.testing.assert_array_equal(a, b)


def test_each_part_has_its_weight(digits):
    vae, x = small_vae(digits), digits.x_test[:9]
    objective = objectives.tc_elbo(50, 5.0, mutual_information=2.0, dimension_wise_kl=3.0, exact_kl=False)
    terms = objective(vae, x, seed=3)
    qz_x = vae.encode(x)
    z = qz_x.sample(1, seed=[3, 0])
    information, correlation, kl = (part[0] for part in objectives.parts(qz_x, vae.prior, z, 50))
    penalty = 2 * information + 5 * correlation + 3 * kl
    np.testing.assert_allclose(terms.log_likelihood - terms.objective, penalty, rtol=1e-4)


def test_it_trains_compiled(digits):
    vae = small_vae(digits, objective="tc_elbo", beta=4.0, jit=True)
    losses = vae.fit(digits.x_train[:1280], batch_size=64, epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


def test_a_last_batch_of_one_has_a_finite_gradient(digits):
    vae = small_vae(digits)
    with tf.GradientTape() as tape:
        loss = -objectives.tc_elbo(1293, 4.0)(vae, digits.x_train[:1], seed=0).objective
    for gradient in tape.gradient(loss, vae.trainable_variables):
        assert np.all(np.isfinite(gradient))


def test_a_batch_larger_than_the_data_set_is_refused(digits):
    vae, x = small_vae(digits), digits.x_test[:50]
    with pytest.raises(ValueError, match="batch size must be at most num_data, 49, got 50"):
        objectives.tc_elbo(49, 4.0)(vae, x, seed=0)
    vae.compile("adam", objectives.tc_elbo(49, 4.0))
    batches = tf.data.Dataset.from_tensors(x).unbatch().batch(50)  # of a size that the graph does not know
    with pytest.raises(ValueError, match="batch size must be at most num_data, 49, got 50"):
        vae.fit(batches, verbose=0)


def test_a_posterior_without_known_marginals_is_refused(linear_model, linear_x):
    qz_x = tfd.TransformedDistribution(linear_model.posterior(linear_x), tfp.bijectors.Exp(), name="flow")
    with pytest.raises(ValueError, match=r"q\(z\|x\) must be a multivariate normal, .*got flow"):
        objectives.parts(qz_x, linear_model.prior, qz_x.sample(1, seed=[0, 0]), 7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: objectives.tc_elbo(0, 4.0), "num_data must be an integer of at least 1, got 0"),
        (lambda: objectives.tc_elbo(9, -1.0), "beta must be a finite number of at least 0, got -1.0"),
        (lambda: objectives.tc_elbo(9, 1.0, mutual_information=-1.0), "mutual_information must be a finite number"),
        (lambda: objectives.tc_elbo(9, 1.0, dimension_wise_kl=-1.0), "dimension_wise_kl must be a finite number"),
    ],
)
def test_values_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
