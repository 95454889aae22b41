"""Objectives for latents that each stand for one thing: by the KL's size, the covariance, or a discriminator.

`total_correlation.tc_elbo` is another. Shapes in comments: S samples, B batch, D latent.
"""

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae.objectives.terms import penalized, warmup
from tfvae.objectives.total_correlation import marginals
from tfvae.seeds import fold_in
from tfvae.support import replicas
from tfvae.support.pieces import option, piece


@piece(
    "objective",
    gamma=option(10.0, "Weight of |KL - capacity|", least=0),
    capacity=option(25.0, "C, in nats", least=0),
    annealing_steps=option(
        0, "Updates over which beta, the capacity or the number of samples grows", least=0, field="warmup_steps"
    ),
)
def capacity_elbo(gamma, capacity, *, annealing_steps=0, num_samples=1, exact_kl=None):
    """E_q[log p(x|z)] - gamma |mean over the batch of KL(q(z|x) || p(z)) - C(step)|: an objective.

    The capacity-annealed beta-VAE, Burgess et al. (2018, arXiv 1804.03599, eq. 8): the KL is held at C nats. Its mean
    is held there and not each example's, so that images may differ in how much they need. C grows linearly from 0 to
    `capacity` over `annealing_steps` updates; for sprites the paper takes gamma 1000, 25 nats and 100,000 updates.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.capacity_elbo(gamma=10.0, capacity=25.0)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """

    def penalty(drawn, step):
        now = capacity * warmup(step, annealing_steps, drawn.kl.dtype)
        return gamma * tf.abs(tf.reduce_mean(drawn.kl) - now)

    return penalized(penalty, num_samples, exact_kl)


@piece(
    "objective",
    traits=("of marginals",),
    variant=option(2, "1 decorrelates the means, 2 the samples", one_of=(1, 2), field="dip_variant"),
    off_diagonal=option(10.0, "Weight of the covariances", least=0, field="dip_off_diagonal"),
    diagonal=option(10.0, "Weight of the variances' distance from 1", least=0, field="dip_diagonal"),
)
def dip_elbo(off_diagonal, diagonal, *, variant=2, num_samples=1, exact_kl=None):
    """ELBO - off_diagonal sum_{i != j} C_ij^2 - diagonal sum_i (C_ii - 1)^2: an objective.

    DIP-VAE, Kumar et al. (2018, arXiv 1711.00848, section 3). C is the covariance over the batch: in DIP-VAE-I
    of the means, Cov_x(E_q[z|x]); in DIP-VAE-II of the latents, Cov_x(E_q[z|x]) + E_x[Cov_q(z|x)]. The penalty is the
    same for each example. The paper takes diagonal = 10 off_diagonal for I, diagonal = off_diagonal for II. ValueError
    for a value out of its range; at the call, for a q(z|x) that is no normal.

    >>> vae = tfvae.build(tfvae.Recipe(event_shape=(8, 8, 1), likelihood="bernoulli"))
    >>> tfvae.objectives.dip_elbo(10.0, 10.0)(vae, np.zeros([3, 8, 8, 1]), seed=0).objective.shape
    TensorShape([3])
    """

    def penalty(drawn, step):
        covariance = latent_covariance(drawn.qz_x, of_means=variant == 1)
        variances = tf.linalg.diag_part(covariance)
        correlated = tf.reduce_sum(tf.square(covariance)) - tf.reduce_sum(tf.square(variances))
        return drawn.kl + off_diagonal * correlated + diagonal * tf.reduce_sum(tf.square(variances - 1))

    return penalized(penalty, num_samples, exact_kl)


def latent_covariance(qz_x, *, of_means=False):
    """Covariance over the batch (divided by B) of z ~ q(z|x), or of the means E_q[z|x] alone: [D, D]."""
    covariance = tfp.stats.covariance(marginals(qz_x).loc)
    return covariance if of_means else covariance + tf.reduce_mean(qz_x.covariance(), axis=0)


class FactorElbo(tf.Module):
    """The objective of `factor_elbo`; `VAE.train_step` calls `update` after the model's own update."""

    def __init__(self, gamma, latent_size, hidden_sizes, learning_rate, seed, num_samples, exact_kl):
        super().__init__(name="factor_elbo")
        self.gamma, self.num_samples = gamma, num_samples
        self._objective = penalized(self._penalty, num_samples, exact_kl)
        layers = [tfk.layers.InputLayer([latent_size])]
        for i, size in enumerate((*hidden_sizes, 1)):
            activation = tf.nn.leaky_relu if i < len(hidden_sizes) else None
            options = {"kernel_initializer": tfk.initializers.HeNormal(seed=seed + i), "dtype": "float32"}
            # The same names in each process: checkpoints go by names.
            layers.append(tfk.layers.Dense(size, activation, name=f"discriminator_{i}", **options))
        self.discriminator = tfk.Sequential(layers, name="discriminator")
        self.optimizer = tfk.optimizers.Adam(learning_rate, beta_1=0.5, beta_2=0.9)
        # Build now, because a compiled training step must not create variables.
        self.optimizer.build(self.discriminator.trainable_variables)

    @property
    def state(self):
        """The variables that the next update depends on; a checkpoint keeps them."""
        return [*self.discriminator.variables, *self.optimizer.variables]

    def __call__(self, vae, x, *, seed, step=None):
        return self._objective(vae, x, seed=seed, step=step)

    def _penalty(self, drawn, step):
        return drawn.kl + self.gamma * tf.reduce_mean(self.log_ratio(drawn.z), axis=0)

    def log_ratio(self, z):
        """The discriminator's log q(z) - log prod_j q(z_j): [..., D] -> [...]; its mean estimates TC."""
        logits = self.discriminator(tf.reshape(z, [-1, z.shape[-1]]))
        return tf.cast(tf.reshape(logits, tf.shape(z)[:-1]), z.dtype)

    def update(self, vae, x, *, seed, good):
        """One step of the discriminator on new z ~ q(z|x) and `permuted` z; none if `good`, a boolean [], is False."""
        z = vae.encode(x).sample(seed=fold_in(seed, 1))
        with tf.GradientTape() as tape:
            joint, product = self.log_ratio(z), self.log_ratio(permuted(z, fold_in(seed, 2)))
            loss = replicas.joint_mean((tf.nn.softplus(-joint) + tf.nn.softplus(product)) / 2)
        gradients = self.optimizer.compute_gradients(loss, self.discriminator.trainable_variables, tape)
        replicas.apply_if(good, self.optimizer, gradients)


@piece(
    "objective",
    gamma=option(10.0, "Weight of the total correlation", least=0),
    hidden_sizes=option((1000,) * 6, "Hidden units of the discriminator", least=1, field="discriminator_sizes"),
)
def factor_elbo(
    gamma, latent_size, *, hidden_sizes=(1000,) * 6, learning_rate=1e-4, seed=0, num_samples=1, exact_kl=None
):
    """ELBO - gamma E_q(z)[log D(z) / (1 - D(z))]: an objective with variables of its own.

    FactorVAE, Kim and Mnih (2018, arXiv 1802.05983, eq. 2, 3 and algorithm 2). The discriminator D, a network, is
    trained beside the model to classify z ~ q(z) against z ~ prod_j q(z_j); its log-ratio estimates the total
    correlation. For z ~ prod_j q(z_j), each latent is permuted over the same batch, where the paper draws another
    batch. The estimate is no bound: it is as good as D. ValueError for a value out of its range.

    `hidden_sizes`, `learning_rate` and `seed` are the discriminator's (leaky ReLU; Adam with beta_1 0.5 and beta_2
    0.9), the paper's by default.

    >>> objective = tfvae.objectives.factor_elbo(10.0, latent_size=2, hidden_sizes=(8,))
    >>> isinstance(objective, tfvae.objectives.Stateful), objective.log_ratio(np.zeros([5, 3, 2])).shape
    (True, TensorShape([5, 3]))
    """
    return FactorElbo(gamma, latent_size, hidden_sizes, learning_rate, seed, num_samples, exact_kl)


def permuted(z, seed):
    """Permutes each latent independently over the batch, a sample of prod_j q(z_j): [B, D] -> [B, D]."""
    by_latent = tf.transpose(z)
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(by_latent), seed), axis=-1)
    return tf.transpose(tf.gather(by_latent, order, batch_dims=1))
