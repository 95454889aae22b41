"""Maps of latents: what they are, that they can be undone, and the determinants of their Jacobians."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from conftest import small_vae

from tfvae import hierarchical, networks, posteriors
from tfvae.distributions import flows
from tfvae.distributions.pushforward import Pushforward
from tfvae.posteriors import loc_scale

tfb = tfp.bijectors
tfd = tfp.distributions

D, C = 5, 3
EPS = np.random.default_rng(0).normal(size=(4, D))


@pytest.fixture(autouse=True)
def double_precision():
    """Keras' floatx, in which the maps compute."""
    tfk.backend.set_floatx("float64")
    yield
    tfk.backend.set_floatx("float32")


def chain(kind):
    """A hierarchical map of D = 3 + 2 latents with what it depends on, [4, ...]."""
    sizes = (3, 2)
    heads = hierarchical.with_heads([networks.mlp((2,), [6], seed=3)], sizes[:-1], 4)
    if kind == "upwards":
        heads = hierarchical.with_heads([networks.mlp((3,), [6], seed=3)], sizes[1:], 4)
        return hierarchical.Upwards(heads, sizes), context(2 * sizes[0])
    if kind == "downwards":
        return hierarchical.Downwards(heads, sizes), None
    return hierarchical.TopDown(lambda: heads, sizes), context(2 * sum(sizes))


def context(size):
    return tf.constant(np.random.default_rng(1).normal(size=(4, size)))


MAPS = {
    "iaf": lambda: (flows.stacked(flows.InverseAutoregressive, D, C, 3, [8], "tanh", 0, loc_scale), context(2 * D + C)),
    "coupling": lambda: (flows.stacked(flows.Coupling, D, C, 3, [8, 8], "tanh", 0, loc_scale), context(2 * D + C)),
    "coupling, no context": lambda: (flows.stacked(flows.Coupling, D, 0, 3, [8], "tanh", 0), None),
    "upwards": lambda: chain("upwards"),
    "downwards": lambda: chain("downwards"),
    "top-down": lambda: chain("top-down"),
}


@pytest.fixture(params=MAPS)
def made(request):
    """A map with weights far from the initial ones, and its context."""
    transform, given = MAPS[request.param]()
    variables = transform.trainable_variables or transform.heads()[0].trainable_variables
    rng = np.random.default_rng(2)
    for v in variables:  # a mask is where the kernel is 0
        v.assign(v + 0.3 * rng.normal(size=v.shape) * (v.numpy() != 0 if v.shape.rank == 2 else 1))
    return transform, given


def test_pull_undoes_push(made):
    transform, given = made
    z, log_det = transform.push(EPS, given)
    eps, log_det_again = transform.pull(z, given)
    np.testing.assert_allclose(eps, EPS, atol=1e-9)
    np.testing.assert_allclose(log_det + np.zeros(4), log_det_again + np.zeros(4), atol=1e-9)
    assert np.abs(z - EPS).max() > 0.1


def test_the_determinant_is_that_of_a_numerical_jacobian(made):
    transform, given = made
    _, log_det = transform.push(EPS, given)
    h = 1e-5
    columns = [
        (transform.push(EPS + h * e, given)[0] - transform.push(EPS - h * e, given)[0]) / (2 * h) for e in np.eye(D)
    ]
    jacobians = np.stack(columns, axis=-1)  # [4, D, D]
    np.testing.assert_allclose(log_det + np.zeros(4), np.linalg.slogdet(jacobians)[1], atol=1e-7)


def test_the_remembered_density_is_that_of_any_z(made):
    transform, given = made
    qz_x = Pushforward(transform, D, given, tf.float64)
    z = qz_x.sample(6, seed=[0, 1])
    np.testing.assert_allclose(qz_x.log_prob(z), qz_x.log_prob(tf.identity(z)), atol=1e-8)


def test_densities_broadcast(made):
    """As those of a mixture's components do: each z under each q(z|x)."""
    transform, given = made
    qz_x = Pushforward(transform, D, given, tf.float64)
    each = np.stack([qz_x.log_prob(np.tile(z, (4, 1))) for z in EPS])
    np.testing.assert_allclose(qz_x.log_prob(EPS[:, np.newaxis]) + np.zeros((4, 4)), each, atol=1e-8)


@pytest.mark.parametrize("kind", ["coupling, no context", "downwards"])
def test_one_vector_will_do_where_there_is_no_batch(kind):
    pz = Pushforward(MAPS[kind]()[0], D, dtype=tf.float64)
    z = pz.sample(seed=[0, 1])
    assert z.shape == [D]
    np.testing.assert_allclose(pz.log_prob(z), pz.log_prob(z[tf.newaxis])[0], rtol=1e-12)


def test_the_density_of_two_latents_integrates_to_one():
    grid = np.linspace(-12, 12, 481)
    z = tf.constant(np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2))
    for step in (flows.InverseAutoregressive, flows.Coupling):
        flow = flows.stacked(step, 2, C, 2, [8], "tanh", 0, loc_scale)
        qz_x = Pushforward(flow, 2, context(4 + C)[:1])
        mass = np.exp(qz_x.log_prob(z[:, tf.newaxis])).sum() * (grid[1] - grid[0]) ** 2
        np.testing.assert_allclose(mass, 1, atol=1e-4)


def test_coupling_steps_start_near_the_identity_and_take_the_halves_in_turn():
    for num_steps, changed in ((1, [False, False, True, True, True]), (2, [True] * 5)):
        z, _ = flows.stacked(flows.Coupling, D, 0, num_steps, [64], "tanh", 0).push(tf.constant(EPS))
        assert np.any(z != EPS, axis=0).tolist() == changed
        np.testing.assert_allclose(z, EPS, atol=0.3)


@pytest.mark.parametrize("step", [flows.Coupling, flows.InverseAutoregressive])
def test_each_step_starts_apart_and_by_the_seed(step):
    """The first and the third step have weights of the same shapes."""
    first, again, other = (flows.stacked(step, D, C, 3, [8], "tanh", s, loc_scale).steps for s in (0, 0, 1))
    weights = [steps[i].trainable_variables[0].numpy() for steps, i in ((first, 0), (again, 0), (first, 2), (other, 0))]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2]) and not np.allclose(weights[0], weights[3])


def test_the_iaf_is_tfps():
    """`tfb.Invert` of its masked autoregressive flow, with the same network."""
    flow = flows.stacked(flows.InverseAutoregressive, D, C, 2, [8], "tanh", 0, loc_scale)
    params = context(2 * D + C)

    def inverted(step):
        def shift_and_log_scale(eps):
            log_gate, m = step.parameters(eps, params[:, 2 * D :])
            return m - m * tf.exp(-log_gate), -log_gate

        return tfb.Invert(tfb.MaskedAutoregressiveFlow(shift_and_log_scale, is_constant_jacobian=False))

    chained = tfb.Chain([inverted(step) for step in reversed(flow.steps)])
    reference = tfd.TransformedDistribution(flow.base(params), chained)
    qz_x = Pushforward(flow, D, params)
    np.testing.assert_allclose(qz_x.sample(seed=[3, 4]), reference.sample(seed=[3, 4]), rtol=1e-9)
    np.testing.assert_allclose(qz_x.log_prob(EPS), reference.log_prob(EPS), rtol=1e-9)


def test_a_latent_of_the_iaf_depends_on_those_before_it():
    step = flows.InverseAutoregressive(D, C, [16], seed=0)
    given = context(C)
    with tf.GradientTape() as tape:
        eps = tf.constant(EPS)
        tape.watch(eps)
        z, _ = step.push(eps, given)
    jacobian = tape.batch_jacobian(z, eps).numpy()
    assert np.all(jacobian[:, *np.triu_indices(D, 1)] == 0)
    assert np.all(np.abs(jacobian[:, *np.tril_indices(D)]) > 0)


def test_a_sample_and_its_density_are_one_pass_and_that_of_another_z_is_one_for_each_latent():
    step = flows.InverseAutoregressive(D, C, [8], seed=0)
    calls = []
    parameters = step.parameters
    step.parameters = lambda *args: (calls.append(1), parameters(*args))[1]
    qz_x = Pushforward(flows.Flow([step], D, loc_scale), D, context(2 * D + C))
    z = qz_x.sample(7, seed=[0, 1])
    qz_x.log_prob(z)
    assert len(calls) == 1
    qz_x.log_prob(tf.identity(z))
    assert len(calls) == 1 + D


def test_training_keeps_the_order(digits):
    """The masks hold after updates by the package's own Adam."""
    tfk.backend.set_floatx("float32")
    vae = small_vae(digits, posterior="iaf", latent_size=4, flow_steps=2, flow_hidden_sizes=(8,))
    vae.fit(digits.train(64), epochs=1, verbose=0)
    params = vae.encoder.params(vae.encoder.network(digits.x_test[:2]))
    for i, step in enumerate(vae.encoder.distribution.transform.steps):
        with tf.GradientTape() as tape:
            eps = tf.random.stateless_normal([2, 4], seed=[0, 1])
            tape.watch(eps)
            z, _ = step.push(eps, params[:, 8:])
        jacobian = tape.batch_jacobian(z, eps).numpy()[:, :: -1 if i else 1, :: -1 if i else 1]
        assert np.all(jacobian[:, *np.triu_indices(4, 1)] == 0)


@pytest.mark.parametrize("family", [posteriors.iaf, posteriors.coupling])
def test_a_flow_whose_steps_do_nothing_is_the_normal_that_it_starts_from(family):
    tfk.backend.set_floatx("float32")
    model = family(networks.mlp((5,), [8], seed=0), 4, hidden_sizes=(6,), seed=1)
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    qz_x = model(x)
    for step in qz_x.transform.steps:
        for v in step.trainable_variables:
            v.assign(tf.zeros_like(v))
        if family is posteriors.iaf:  # gates open: sigmoid(100) = 1
            (bias,) = (v for v in step.trainable_variables if v.shape == [8])
            bias.assign(tf.reshape(tf.stack([tf.fill([4], 100.0), tf.zeros(4)], axis=-1), [-1]))
    z = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    np.testing.assert_allclose(qz_x.log_prob(z), qz_x.base.log_prob(z), rtol=1e-5)
    np.testing.assert_allclose(qz_x.sample(9, seed=[0, 1]), qz_x.base.sample(9, seed=[0, 1]), rtol=1e-5)
    np.testing.assert_allclose(qz_x.mean(), qz_x.base.mean(), atol=1e-5)


@pytest.mark.parametrize("family", [posteriors.iaf, posteriors.coupling])
def test_its_moments_are_those_of_fixed_noise_whatever_the_batch(family):
    tfk.backend.set_floatx("float32")
    model = family(networks.mlp((5,), [8], seed=0), 4, seed=1)
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    qz_x, z = model(x), model(x).sample(20_000, seed=[0, 1]).numpy()
    np.testing.assert_allclose(qz_x.mean(), np.concatenate([model(x[i : i + 1]).mean() for i in range(3)]), rtol=1e-5)
    assert np.all(np.abs(qz_x.mean() - z.mean(0)) < 5 * z.std(0) / np.sqrt(128))
    np.testing.assert_allclose(qz_x.stddev(), z.std(0), rtol=0.4)
    np.testing.assert_allclose(np.diagonal(qz_x.covariance(), axis1=1, axis2=2), qz_x.variance(), rtol=1e-4)


def test_the_mean_of_an_affine_map_is_exact():
    """N(0, I) itself: the noise comes in pairs of opposite sign."""
    np.testing.assert_allclose(Pushforward(flows.Flow([], 2), 2, dtype=tf.float64).mean(), [0, 0], atol=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_size": 1}, "latent_size must be an integer of at least 2, got 1"),
        ({"num_steps": 0}, "num_steps must be an integer of at least 1, got 0"),
        ({"hidden_sizes": ()}, r"hidden_sizes must be a tuple of integers of at least 1, one or more, got \(\)"),
    ],
)
def test_bad_sizes_are_refused(change, message):
    sizes = {"latent_size": 4, "num_steps": 2, "hidden_sizes": (8,), **change}
    with pytest.raises(ValueError, match=message):
        posteriors.iaf(networks.mlp((5,), []), **sizes)
