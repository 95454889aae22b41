"""Reconstructions of mistakes that public tutorials make, each found, and losses that are right."""

import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk
from conftest import small_vae

from tfvae import diagnostics, objectives, priors

tfd = tfp.distributions
tfpl = tfp.layers

BATCH, LATENTS, PIXELS = 64, 8, 64
QUICK = {"num_points": 16, "num_seeds": 16}


class TutorialVAE:
    """An encoder that gives mean and log variance, and a decoder that gives probabilities, as tutorials have them."""

    def __init__(self, event_shape, activation="relu"):
        image = tfk.Input(event_shape)
        h = tfk.layers.Dense(32, "relu", kernel_initializer=tfk.initializers.GlorotUniform(0))(
            tfk.layers.Flatten()(image)
        )
        heads = [tfk.layers.Dense(LATENTS, kernel_initializer=tfk.initializers.GlorotUniform(i))(h) for i in (1, 2)]
        self.encoder = tfk.Model(image, heads)
        self.decoder = tfk.Sequential(
            [
                tfk.layers.InputLayer((LATENTS,)),
                tfk.layers.Dense(32, activation, kernel_initializer=tfk.initializers.GlorotUniform(3)),
                tfk.layers.Dense(np.prod(event_shape), "sigmoid", kernel_initializer=tfk.initializers.GlorotUniform(4)),
                tfk.layers.Reshape(event_shape),
            ]
        )

    def loss(self, reconstruction, kl, std=lambda s: tf.exp(s / 2)):
        @tf.function
        def loss(x, seed):
            mean, s = self.encoder(x)
            z = mean + std(s) * tf.random.stateless_normal(tf.shape(mean), (seed, 0))
            return reconstruction(x, self.decoder(z)) + kl(mean, s)

        return loss

    def audit(self, *pieces, x, **options):
        return diagnostics.audit_loss(self.loss(*pieces), self.encoder, self.decoder, x, **(QUICK | options))


@pytest.fixture(scope="module")
def tutorial():
    return TutorialVAE((8, 8, 1))


@pytest.fixture(scope="module")
def x(binary_digits):
    return binary_digits.x_train[:BATCH]


# Reconstruction and KL in the pieces that the mistakes below put together.


def cross_entropy(x, p):
    return tf.reduce_sum(tfk.losses.binary_crossentropy(x, p), axis=[1, 2])  # [B]


def kl_by_latent(mean, s):
    return -0.5 * (1 + s - mean**2 - tf.exp(s))  # [B, D]


def mean_cross_entropy(x, p):
    return tf.reduce_mean(cross_entropy(x, p))


def mean_kl(mean, s):
    return tf.reduce_mean(tf.reduce_sum(kl_by_latent(mean, s), axis=1))


MISTAKES = {
    "the KL is averaged over 8 latents": (mean_cross_entropy, lambda m, s: tf.reduce_mean(kl_by_latent(m, s))),
    "the KL is summed over the batch of 64": (mean_cross_entropy, lambda m, s: tf.reduce_sum(kl_by_latent(m, s))),
    "the KL is counted 2.0": (mean_cross_entropy, lambda m, s: 2 * mean_kl(m, s)),
    "the KL has the wrong sign": (
        mean_cross_entropy,
        lambda m, s: 0.5 * tf.reduce_mean(tf.reduce_sum(1 + s - m**2 - tf.exp(s), axis=1)),
    ),
    "the KL is missing: an autoencoder": (mean_cross_entropy, lambda m, s: 0.0),
    "reconstruction is averaged over 64 pixels: effective beta 6": (
        lambda x, p: tf.reduce_mean(tfk.losses.binary_crossentropy(x, p)),
        mean_kl,
    ),
    "squared error is averaged over 64 pixels: effective beta 3": (lambda x, p: tf.reduce_mean((x - p) ** 2), mean_kl),
    "squared error without variance: a Gaussian with variance 0.5": (
        lambda x, p: tf.reduce_mean(tf.reduce_sum((x - p) ** 2, axis=[1, 2, 3])),
        mean_kl,
    ),
    "sampler and KL disagree about what std is: exp(s) in the sampler, exp(s / 2) in the KL": (
        mean_cross_entropy,
        mean_kl,
        tf.exp,
    ),
    "sampler and KL disagree about what std is: exp(s / 2) in the sampler, s in the KL": (
        mean_cross_entropy,
        lambda m, s: tf.reduce_mean(0.5 * tf.reduce_sum(m**2 + s**2 - tf.math.log(s**2 + 1e-20) - 1, axis=1)),
    ),
    "z is not sampled: the decoder gets the mean of q(z|x)": (mean_cross_entropy, mean_kl, tf.zeros_like),
    "the loss takes the decoder's outputs for logits, but all lie in [0, 1]": (
        lambda x, p: tf.reduce_mean(
            tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=p), axis=[1, 2, 3])
        ),
        mean_kl,
    ),
    "the loss is the ELBO, to be maximised: its sign is wrong": (
        lambda x, p: -mean_cross_entropy(x, p),
        lambda m, s: -mean_kl(m, s),
    ),
}


@pytest.mark.parametrize("finding", MISTAKES)
def test_a_mistake_is_found_and_no_other(finding, tutorial, x):
    audit = tutorial.audit(*MISTAKES[finding], x=x)
    assert not audit.right
    assert len(audit.findings) == 1 + ("not sampled" in finding), audit
    assert audit.findings[0].startswith(finding), audit
    assert finding in str(audit)


def test_outputs_that_are_no_numbers_say_nothing_of_the_loss(x):
    """The encoder's output may be negative: its root as a standard deviation is NaN, which tanh passes on."""
    finding = "the loss takes the decoder's outputs for logits, but all lie in [0, 1]"
    audit = TutorialVAE((8, 8, 1), activation="tanh").audit(*MISTAKES[finding], x=x)
    assert len(audit.findings) == 1 and audit.findings[0].startswith(finding), audit


def test_a_mean_over_channels_is_an_unstated_beta(binary_digits):
    colour = tf.concat([binary_digits.x_train[i : i + BATCH] for i in (0, 100, 200)], axis=-1)
    audit = TutorialVAE((8, 8, 3)).audit(mean_cross_entropy, mean_kl, x=colour)
    np.testing.assert_allclose(audit.effective_beta, 3, atol=4 * audit.effective_beta_error)
    assert audit.findings[0].startswith("reconstruction is averaged over 3 channels: effective beta")


def test_a_beta_that_never_reaches_the_loss(tutorial, x):
    audit = tutorial.audit(mean_cross_entropy, mean_kl, x=x, beta=4.0)
    assert audit.findings == ("beta is 4, but never reaches the loss: the KL is counted 1.00 times",)
    reached = tutorial.audit(mean_cross_entropy, lambda m, s: 4.0 * mean_kl(m, s), x=x, beta=4.0)
    assert reached.right
    np.testing.assert_allclose(reached.effective_beta, 4, atol=4 * reached.effective_beta_error)


@pytest.mark.parametrize("layer", ["regularizer", "add_loss"])
def test_what_tfp_layers_add(layer, x):
    """A KL regularizer is added twice; `use_exact_kl=True` of the other layer sums over the batch."""
    pz = priors.standard_normal(LATENTS)
    params = tfpl.MultivariateNormalTriL.params_size(LATENTS)
    layers = {
        "regularizer": [
            tfpl.MultivariateNormalTriL(LATENTS, activity_regularizer=tfpl.KLDivergenceRegularizer(pz, True))
        ],
        "add_loss": [tfpl.MultivariateNormalTriL(LATENTS), tfpl.KLDivergenceAddLoss(pz, True)],
    }[layer]
    body = [tfk.layers.InputLayer((8, 8, 1)), tfk.layers.Flatten(), tfk.layers.Dense(params)]
    encoder = tfk.Sequential([*body, *layers])
    decoder = tfk.Sequential(
        [tfk.layers.InputLayer((LATENTS,)), tfk.layers.Dense(PIXELS), tfpl.IndependentBernoulli((8, 8, 1))]
    )

    @tf.function
    def loss(x, seed):
        z = encoder(x).sample(seed=(seed, 0))
        return -tf.reduce_mean(decoder(z).log_prob(x)) + tf.add_n(encoder.losses)

    audit = diagnostics.audit_loss(loss, encoder, decoder, x, **QUICK)
    times = {"regularizer": 2, "add_loss": BATCH}[layer]
    np.testing.assert_allclose(audit.kl_weight, times, atol=max(0.02, 4 * audit.kl_weight_error))
    words = {
        "regularizer": r"the KL is counted (1\.9|2\.0). times",
        "add_loss": "the KL is summed over the batch of 64",
    }
    assert len(audit.findings) == 1 and re.fullmatch(words[layer], audit.findings[0]), audit


@pytest.mark.parametrize(
    ("likelihood", "scale", "posterior"),
    [
        ("bernoulli", None, "diagonal_normal"),
        ("binomial", None, "diagonal_normal"),
        ("normal", 0.5, "full_normal"),
        ("normal", None, "diagonal_normal"),
    ],
)
def test_our_loss_is_right(likelihood, scale, posterior, digits, binary_digits):
    images = binary_digits if likelihood == "bernoulli" else digits
    vae = small_vae(images, likelihood=likelihood, scale=scale, posterior=posterior)

    @tf.function
    def loss(x, seed):
        return -vae.objective(vae, x, seed=seed, step=None).objective

    audit = diagnostics.audit_loss(loss, vae.encoder, vae.decoder, images.x_train[:BATCH], **QUICK)
    assert audit.right and audit.findings[0] == "the loss is right (up to a constant)", audit
    assert (audit.likelihood, audit.sampler_std, audit.kl_std) == ("the decoder's", "s", "s")
    np.testing.assert_allclose(audit.log_likelihood_weight, 1, atol=4 * audit.log_likelihood_weight_error)
    np.testing.assert_allclose(audit.kl_weight, 1, atol=4 * audit.kl_weight_error)
    assert max(audit.log_likelihood_weight_error, audit.kl_weight_error) < 0.05


def test_squared_error_of_a_decoders_mean_forgets_its_variance(digits):
    vae = small_vae(digits, likelihood="normal", scale=0.1)

    @tf.function
    def loss(x, seed):
        qz_x = vae.encode(x)
        error = tf.reduce_sum((x - vae.decode(qz_x.sample(seed=(seed, 0))).mean()) ** 2, axis=[1, 2, 3])
        return tf.reduce_mean(error + tfd.kl_divergence(qz_x, vae.prior))

    audit = diagnostics.audit_loss(loss, vae.encoder, vae.decoder, digits.x_train[:BATCH], **QUICK)
    assert audit.findings == ("squared error without variance: a Gaussian with variance 0.5",)


def test_a_third_output_and_noise_without_a_seed_change_nothing(tutorial, x):
    generator = tf.random.Generator.from_seed(0)

    def encoder(x):
        mean, s = tutorial.encoder(x)
        return mean, s, mean + tf.exp(s / 2) * generator.normal(tf.shape(mean))

    @tf.function
    def loss(x, seed):
        mean, s, z = encoder(x)
        return tf.reduce_sum(cross_entropy(x, tutorial.decoder(z))) + tf.reduce_sum(kl_by_latent(mean, s))

    variables = tutorial.encoder.trainable_variables, tutorial.decoder.trainable_variables
    audit = diagnostics.audit_loss(loss, encoder, tutorial.decoder, x, variables=variables, **QUICK)
    assert audit.right
    assert audit.findings[1] == "the whole loss is summed over the batch of 64"
    np.testing.assert_allclose(audit.kl_weight, 64, atol=4 * audit.kl_weight_error)


def test_a_tighter_bound_is_no_weighted_sum(binary_digits):
    vae = small_vae(binary_digits)

    @tf.function
    def loss(x, seed):
        return -objectives.iwae(10)(vae, x, seed=seed).objective

    audit = diagnostics.audit_loss(loss, vae.encoder, vae.decoder, binary_digits.x_train[:BATCH], **QUICK)
    assert not audit.right
    assert audit.findings[0].startswith("cannot tell: the loss is no weighted sum"), audit


def test_what_does_not_move_cannot_be_told(tutorial, x):
    decoders = tutorial.decoder.trainable_variables
    audit = tutorial.audit(mean_cross_entropy, mean_kl, x=x, variables=decoders)
    assert not audit.right
    assert np.isnan(audit.kl_weight) and np.isnan(audit.kl_weight_error)
    assert audit.findings == ("cannot tell how the KL is counted: it does not move apart from the rest as weights do",)
    np.testing.assert_allclose(audit.log_likelihood_weight, 1, atol=4 * audit.log_likelihood_weight_error)


def test_the_weights_come_back(tutorial, x):
    variables = tutorial.encoder.variables + tutorial.decoder.variables
    before = [v.numpy() for v in variables]
    first, again = (tutorial.audit(mean_cross_entropy, mean_kl, x=x, num_points=12, num_seeds=2) for _ in range(2))
    assert first == again
    calls = []

    def fails(x, seed):
        calls.append(seed)
        if len(calls) > 50:
            raise RuntimeError("out of patience")
        return 1.0

    with pytest.raises(RuntimeError, match="out of patience"):
        diagnostics.audit_loss(fails, tutorial.encoder, tutorial.decoder, x)
    for variable, value in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_what_the_loss_itself_moves_comes_back(tutorial, x):
    norm = tfk.layers.BatchNormalization()
    decoder = tfk.Sequential([tfk.layers.InputLayer((LATENTS,)), norm, tutorial.decoder])

    def loss(x, seed):
        mean, s = tutorial.encoder(x)
        return mean_cross_entropy(x, decoder(mean, training=True)) + mean_kl(mean, s)

    loss(x, 0)
    before = norm.moving_mean.numpy()
    diagnostics.audit_loss(loss, tutorial.encoder, decoder, x, num_points=12, num_seeds=2)
    np.testing.assert_array_equal(norm.moving_mean, before)


@pytest.mark.parametrize("seed", [-1, 0, 1])
def test_a_normal_prior_of_another_kind_is_the_same(tutorial, x, seed):
    """TFP has no closed form for its KL; a sampled one would be too noisy for 16 images."""
    prior = tfd.Independent(tfd.Normal(tf.zeros(LATENTS), tf.ones(LATENTS)), 1)
    audit = tutorial.audit(mean_cross_entropy, mean_kl, x=x[:16], prior=prior, seed=seed)
    assert audit.right
    assert abs(audit.kl_weight - 1) < 0.02


def test_the_width_of_floats_does_not_matter(tutorial, x):
    wide = np.asarray(x, np.float64)
    loss = tutorial.loss(lambda x, p: mean_cross_entropy(tf.cast(x, p.dtype), p), mean_kl)
    audit = diagnostics.audit_loss(loss, tutorial.encoder, tutorial.decoder, wide, **QUICK)
    assert audit.right


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": np.zeros((8, 8, 8, 1), np.uint8)}, r"x must hold floats, .* got uint8 \[8, 8, 8, 1\]"),
        ({"beta": np.nan}, "beta must be a finite number of at least 0, got nan"),
        ({"loss": lambda x, seed: (1.0, 2.0)}, r"loss must give a number, or one an example, \[64\], got shape \[2\]"),
        (
            {"prior": tfd.Normal(tf.zeros(8), tf.ones(8))},
            r"prior must be a tfd.Distribution over \[8\], without a batch",
        ),
        ({"prior": priors.standard_normal}, "prior must be a tfd.Distribution"),
        ({"prior": priors.standard_normal(3)}, r"prior must be a tfd.Distribution over \[8\]"),
        ({"variables": [[tf.Variable(1.0)]] * 3}, "variables must be a list of tf.Variable, or a pair of such lists"),
        (
            {"x": np.zeros((3, 8, 8, 1), np.float32)},
            r"x must hold floats, \[B, ...\] with B at least 4, got float32 \[3, 8, 8, 1\]",
        ),
        ({"num_points": 11}, "num_points must be an integer of at least 12, got 11"),
        ({"num_seeds": 1}, "num_seeds must be an integer of at least 2, got 1"),
        ({"loss": lambda x, seed: np.nan}, "loss must be finite at the weights as they are, got nan"),
        ({"variables": []}, "variables must be given where encoder and decoder have no trainable_variables, got none"),
        ({"encoder": lambda x: x, "variables": [tf.Variable(1.0)]}, r"encoder must give \(mean, s\), \(mean, s, z\)"),
        ({"decoder": lambda z: None, "variables": [tf.Variable(1.0)]}, "decoder must give the shape of x, .* got None"),
        ({"decoder": lambda z: z, "variables": [tf.Variable(1.0)]}, "decoder must give the shape of x"),
    ],
)
def test_bad_arguments_are_refused(options, message, tutorial, x):
    pieces = {"loss": lambda x, seed: 1.0, "encoder": tutorial.encoder, "decoder": tutorial.decoder, "x": x}
    with pytest.raises(ValueError, match=message):
        diagnostics.audit_loss(**(pieces | options))
