"""The objective with a discriminator, which learns a density ratio. Shapes: S samples, B batch, D latent."""

import tensorflow as tf
import tf_keras as tfk

from tfvae import checks, optimizers, replicas
from tfvae.seeds import fold_in
from tfvae.terms import penalized


class FactorElbo(tf.Module):
    """What `factor_elbo` gives; `update` is called by `VAE.train_step` after the model's own update."""

    def __init__(self, gamma, latent_size, hidden_sizes, learning_rate, seed, num_samples, exact_kl):
        super().__init__(name="factor_elbo")
        self.gamma, self.num_samples = gamma, num_samples
        self._objective = penalized(self._penalty, num_samples, exact_kl)
        layers = [tfk.layers.InputLayer([latent_size])]
        for i, size in enumerate((*hidden_sizes, 1)):
            activation = None if i == len(hidden_sizes) else tf.nn.leaky_relu
            initializer = tfk.initializers.HeNormal(seed=seed + i)
            name = f"discriminator_{i}"  # the same in each process: checkpoints go by names
            layers.append(
                tfk.layers.Dense(size, activation, kernel_initializer=initializer, dtype="float32", name=name)
            )
        self.discriminator = tfk.Sequential(layers, name="discriminator")
        self.optimizer = optimizers.fused(tfk.optimizers.Adam(learning_rate, beta_1=0.5, beta_2=0.9))
        # Now: a compiled training step makes no variables.
        self.optimizer.build(self.discriminator.trainable_variables)

    @property
    def state(self):
        """Every variable that the next update depends on; a checkpoint keeps them."""
        return [*self.discriminator.variables, *self.optimizer.variables]

    def __call__(self, vae, x, *, seed, step=None):
        return self._objective(vae, x, seed=seed, step=step)

    def _penalty(self, draw, step):
        return draw.kl + self.gamma * tf.reduce_mean(self.log_ratio(draw.z), axis=0)

    def log_ratio(self, z):
        """log q(z) - log prod_j q(z_j), as the discriminator has it: [..., D] -> [...]; its mean estimates TC."""
        logits = self.discriminator(tf.reshape(z, [-1, z.shape[-1]]))
        return tf.cast(tf.reshape(logits, tf.shape(z)[:-1]), z.dtype)

    def update(self, vae, x, *, seed, good):
        """One step of the discriminator, on fresh z ~ q(z|x) and the same with each latent permuted over the batch.

        Args:
            good: a boolean tensor; where it is false, nothing changes.
        """
        z = vae.encode(x).sample(seed=fold_in(seed, 1))
        with tf.GradientTape() as tape:
            joint, product = self.log_ratio(z), self.log_ratio(permuted(z, fold_in(seed, 2)))
            loss = replicas.joint_mean((tf.nn.softplus(-joint) + tf.nn.softplus(product)) / 2)
        gradients = self.optimizer.compute_gradients(loss, self.discriminator.trainable_variables, tape)
        replicas.apply_if(good, self.optimizer, gradients)


def factor_elbo(
    gamma,
    latent_size,
    *,
    hidden_sizes=(1000,) * 6,
    learning_rate=1e-4,
    seed=0,
    num_samples=1,
    exact_kl=None,
):
    """ELBO - gamma E_q(z)[log D(z) / (1 - D(z))]: an objective with variables of its own.

    FactorVAE, Kim and Mnih (2018, arXiv 1802.05983, eq. 2, 3 and algorithm 2). D, a network, learns beside the model to
    tell z ~ q(z) from z ~ prod_j q(z_j); its log-ratio estimates the total correlation. The second kind of z is the
    batch itself with each latent permuted, where the paper draws another batch. Unlike in the other objectives, the
    estimate has no bound: it is as good as D.

    Args:
        gamma: weight of the total correlation, at least 0.
        latent_size: D of the model.
        hidden_sizes, learning_rate: of the discriminator (leaky ReLU; Adam with beta_1 0.5 and beta_2 0.9), the
            paper's by default.
        seed: of the discriminator's first weights.

    Raises:
        ValueError: a value out of its range.
    """
    checks.number("gamma", gamma, 0)
    checks.count("latent_size", latent_size)
    checks.count("num_samples", num_samples)
    checks.above_zero("learning_rate", learning_rate)
    for size in hidden_sizes:
        checks.count("hidden_sizes", size)
    return FactorElbo(gamma, latent_size, hidden_sizes, learning_rate, seed, num_samples, exact_kl)


def permuted(z, seed):
    """Each latent in an order of its own over the batch, a sample of prod_j q(z_j): [B, D] -> [B, D]."""
    by_latent = tf.transpose(z)
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(by_latent), seed), axis=-1)
    return tf.transpose(tf.gather(by_latent, order, batch_dims=1))
