"""A gallery of losses as public VAEs have them, each with the verdict that the audit owes it.

    python tests/audit/gallery.py            all of them, minutes; `tuned` or `aside` names one half

The audit was tuned on one half, drawn by a fixed seed, and run once on the other, that was kept aside; the outcome
stands in docs/measure.md.
"""

import functools
import re
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras as tfk

from tfvae import data, diagnostics

tfd = tfp.distributions
layers = tfk.layers
BATCH, LATENTS, SHAPE = 64, 8, (8, 8, 1)

# Bodies: what stands between the layers with weights.
BETWEEN = {
    "plain": lambda: [],
    "batch norm": lambda: [layers.BatchNormalization()],
    "dropout": lambda: [layers.Dropout(0.2)],
    "batch norm, dropout": lambda: [layers.BatchNormalization(), layers.Dropout(0.1)],
    "layer norm": lambda: [layers.LayerNormalization()],
    "group norm": lambda: [layers.GroupNormalization(4)],
    "noise": lambda: [layers.GaussianNoise(0.1)],
}


@functools.cache
def body(kind, between, output):
    """An encoder x -> [mean, s] and a decoder z -> [B, 8, 8, 1]."""
    tfk.utils.set_random_seed(1)
    extra, image, z = BETWEEN[between], tfk.Input(SHAPE), tfk.Input(LATENTS)

    def through(h, *stages):
        for stage in stages:
            for layer in [stage, *extra(), layers.LeakyReLU()]:
                h = layer(h)
        return h

    if kind == "conv":
        down = [layers.Conv2D(n, 3, 2, padding="same") for n in (8, 16)]
        h = layers.Flatten()(through(image, *down))
        up = layers.Reshape((2, 2, 16))(layers.Dense(64)(z))
        up = through(up, *[layers.Conv2DTranspose(n, 3, 2, padding="same") for n in (16, 8)])
        out = layers.Conv2D(1, 3, padding="same", activation=output)(up)
    else:
        h = through(layers.Flatten()(image), layers.Dense(32))
        out = layers.Reshape(SHAPE)(layers.Dense(64, output)(through(z, layers.Dense(32))))
    return tfk.Model(image, [layers.Dense(LATENTS)(h), layers.Dense(LATENTS)(h)]), tfk.Model(z, out)


# Reconstructions of x by the decoder's output: [B] or a number.


def pixels(values):
    return tf.reduce_sum(values, axis=[1, 2, 3])


def bce(x, p):
    return pixels(layers.Reshape(SHAPE)(tfk.backend.binary_crossentropy(x, p)))


def bce_logits(x, logits):
    return pixels(tf.nn.sigmoid_cross_entropy_with_logits(x, logits))


def mean_bce(x, p):
    return tf.reduce_mean(tfk.losses.binary_crossentropy(x, p))


def log_bce(x, p):
    return -pixels(x * tf.math.log(p + 1e-10) + (1 - x) * tf.math.log(1 - p + 1e-10))


def weighted_bce(x, logits):
    return pixels(tf.nn.weighted_cross_entropy_with_logits(x, logits, 2.0))


def mse(x, mean):
    return tf.reduce_mean((x - mean) ** 2)


def squares(x, mean):
    return pixels((x - mean) ** 2)


def half_squares(x, mean):
    return squares(x, mean) / 2


def mae(x, mean):
    return tf.reduce_mean(tf.abs(x - mean))


def huber(x, mean):
    return 64 * tfk.losses.Huber(0.3)(x, mean)


def edges(x, p):
    return bce(x, p) + 0.1 * tf.reduce_sum(tf.abs(tf.image.sobel_edges(x) - tf.image.sobel_edges(p)), axis=[1, 2, 3, 4])


def times(factor, term):
    return lambda *args: factor * term(*args)


def summed(term):
    return lambda *args: tf.reduce_sum(term(*args))


def averaged(term):
    return lambda *args: tf.reduce_mean(term(*args))


# KLs of the encoder's mean m and its second output s, at the sample z: [B], or [B, D] by latent.


def by_latent(m, s, z=None):
    return -0.5 * (1 + s - m**2 - tf.exp(s))


def kl(m, s, z=None):
    return tf.reduce_sum(by_latent(m, s), axis=1)


def kl_of(std):
    return lambda m, s, z: tf.reduce_sum(0.5 * (m**2 + std(s) ** 2 - 1) - tf.math.log(std(s)), axis=1)


def clamped(low, high):
    return lambda m, s, z: kl(m, tf.clip_by_value(s, low, high))


def log_normal(z, m, s):
    return -0.5 * (np.log(2 * np.pi) + s + (z - m) ** 2 * tf.exp(-s))


def one_sample_kl(m, s, z):
    return tf.reduce_sum(log_normal(z, m, s) - log_normal(z, 0.0, 0.0), axis=1)


def tc_kl(beta):
    """Chen et al. (2018, arXiv 1802.04942), minibatch weighted sampling."""

    def term(m, s, z):
        pairs = log_normal(z[:, tf.newaxis], m, s)  # [B, B, D]
        log_n = tf.math.log(float(len(z) * 1000))
        log_qz = tf.reduce_logsumexp(tf.reduce_sum(pairs, 2), 1) - log_n
        log_product = tf.reduce_sum(tf.reduce_logsumexp(pairs, 1) - log_n, 1)
        log_qz_x, log_pz = (tf.reduce_sum(log_normal(z, *at), 1) for at in ((m, s), (0.0, 0.0)))
        return log_qz_x - log_qz + beta * (log_qz - log_product) + log_product - log_pz

    return term


def free_bits(m, s, z):
    return tf.reduce_sum(tf.maximum(by_latent(m, s), 0.5), axis=1)


def capacity(m, s, z):
    return 10 * tf.abs(tf.reduce_mean(kl(m, s)) - 5)


def mmd(m, s, z):
    """Maximum mean discrepancy of InfoVAE, with a Gaussian kernel."""
    p = tf.random.normal(tf.shape(z))

    def kernel(a, b):
        return tf.reduce_mean(tf.exp(-tf.reduce_mean((a[:, tf.newaxis] - b) ** 2, axis=2)))

    return 100 * (kernel(p, p) + kernel(z, z) - 2 * kernel(p, z))


def reverse_kl(m, s, z):
    return tf.reduce_sum(0.5 * (s - 1 + (1 + m**2) * tf.exp(-s)), axis=1)


def no_log_kl(m, s, z):
    return 0.5 * tf.reduce_sum(m**2 + tf.exp(s) - 1, axis=1)


def squared_variance_kl(m, s, z):
    return -0.5 * tf.reduce_sum(1 + s - m**2 - tf.exp(s) ** 2, axis=1)


def unsquared_mean_kl(m, s, z):
    return -0.5 * tf.reduce_sum(1 + s - m - tf.exp(s), axis=1)


def square_of_mean(m, s, z):
    return 0.5 * tf.reduce_sum(m**2, axis=1)


def sparse_kl(m, s, z):
    return kl(m, s) + 0.05 * tf.reduce_sum(tf.abs(z), axis=1)


def nothing(m, s, z):
    return 0.0


def warming_up(m, s, z, calls=None):
    """A weight that grows with each call, as a counter of steps in a loss has it."""
    calls = calls or _CALLS
    return tf.minimum(1.0, calls.assign_add(1.0) / 2000) * kl(m, s)


_CALLS = tf.Variable(0.0, trainable=False)
_BETA = tf.Variable(0.1, trainable=False)


# Standard deviations of z.


def half_log(s):
    return tf.exp(s / 2)


def shifted_softplus(shift, least):
    return lambda s: tf.nn.softplus(s + shift) + least


def root_softplus(s):
    return tf.sqrt(tf.nn.softplus(s) + 1e-6)


def absolute(s):
    return tf.abs(s) + 1e-8


class Loss(NamedTuple):
    """One loss and its verdict: `says` matches what the audit finds; "right" where it is right."""

    name: str
    kind: str
    reconstruction: object
    kl: object
    says: str
    std: object = half_log
    network: str = "dense"
    between: str = "plain"
    output: str | None = "sigmoid"
    training: bool | None = None
    l2: tuple = ()  # of pairs: a piece, and the weight of its kernels' squares
    beta: float = 1.0
    samples: int = 1
    grey: bool = False

    def run(self, **options):
        encoder, decoder = body(self.network, self.between, self.output)

        @tf.function
        def loss(x, seed):
            m, s = encoder(x, training=self.training)
            total = 0.0
            for i in range(self.samples):
                z = m + self.std(s) * tf.random.stateless_normal(tf.shape(m), (seed, i))
                reconstruction = self.reconstruction(x, decoder(z, training=self.training))
                total += (reconstruction + self.kl(m, s, z)) / self.samples
            for weights, strength in self.l2:
                for v in {"encoder": encoder, "decoder": decoder}[weights].trainable_variables:
                    total += strength * tf.reduce_sum(v**2) if v.shape.rank > 1 else 0.0
            return total

        return diagnostics.audit_loss(loss, encoder, decoder, images(self.grey), beta=self.beta, **options)

    def outcome(self, audit):
        """ "right" as declared, "withheld" where there was something to tell, or "false"."""
        found = "; ".join(audit.findings)
        if audit.right == (self.says == "right") and re.search(self.says, found):
            return "right"
        return "withheld" if "cannot tell" in found else "false"


@functools.cache
def images(grey):
    return data.load("digits", **({} if grey else {"binarize": "static"})).x_train[:BATCH]


WITHHELD = "cannot tell"
QUICK = {"num_points": 16, "num_seeds": 16}
BN = {"network": "conv", "between": "batch norm", "training": True}
BN_DENSE = {"between": "batch norm", "training": True}
DROPOUT = {"between": "dropout", "training": True}
BOTH = {"network": "conv", "between": "batch norm, dropout", "training": True}
GROUP = {"network": "conv", "between": "group norm"}
LAYER_NORM = {"between": "layer norm"}
PIXELS, VARIANCE = "averaged over 64 pixels", "a Gaussian with variance"

GALLERY = [
    # Reductions
    Loss("BCE and KL, summed, mean over the batch", "reduction", averaged(bce), averaged(kl), "right"),
    Loss("the same, BN", "reduction", averaged(bce), averaged(kl), "right", **BN),
    Loss("the same an example, layer norm", "reduction", bce, kl, "right", **LAYER_NORM),
    Loss("BCE averaged over all", "reduction", mean_bce, averaged(kl), f"reconstruction is {PIXELS}"),
    Loss("BCE averaged over all, BN", "reduction", mean_bce, averaged(kl), f"reconstruction is {PIXELS}", **BN_DENSE),
    Loss("pixels times mean BCE, BN", "reduction", times(64, mean_bce), averaged(kl), "right", **BN),
    Loss("all summed", "reduction", summed(bce), summed(kl), "right", **DROPOUT),
    Loss("KL averaged over latents", "reduction", averaged(bce), averaged(by_latent), "KL is averaged over 8 latents"),
    Loss(
        "MSE and KL averaged over all",
        "reduction",
        mse,
        averaged(by_latent),
        f"{PIXELS}.*averaged over 8 latents",
        **GROUP,
    ),
    Loss("KL summed over the batch", "reduction", averaged(bce), summed(kl), "KL is summed over the batch", **BN),
    Loss("squares summed, BN", "reduction", averaged(squares), averaged(kl), f"{VARIANCE} 0.5", grey=True, **BN),
    Loss(
        "half squares, layer norm", "reduction", averaged(half_squares), averaged(kl), "right", grey=True, **LAYER_NORM
    ),
    Loss(
        "MSE + 0.00025 KL, BN",
        "reduction",
        mse,
        times(0.00025, averaged(kl)),
        rf"{PIXELS}.*counted 0\.00025",
        grey=True,
        **BN,
    ),
    Loss("500 mean BCE, BN", "reduction", times(500, mean_bce), averaged(kl), r"counted 7\.81", **BN),
    Loss(
        "1000 MSE, BN and dropout",
        "reduction",
        times(1000, mse),
        averaged(kl),
        rf"{VARIANCE} 0\.032",
        grey=True,
        **BOTH,
    ),
    Loss("L1 summed", "reduction", times(64, mae), averaged(kl), "right", grey=True, network="conv"),
    # Readings of the scale
    Loss("sampler exp(s)", "scale", bce, kl, r"disagree.*: exp\(s\) in the sampler", std=tf.exp),
    Loss("sampler |s|/2", "scale", bce, kl, r"disagree.*s\|? ?/ 2 in the sampler", std=times(0.5, tf.identity)),
    Loss(
        "sampler 0.1 exp(s / 2)",
        "scale",
        bce,
        kl,
        r"disagree.*: 0\.1 ?\*? ?exp\(s / 2\) in",
        std=times(0.1, half_log),
        **BN,
    ),
    Loss("sampler 0.1 exp(s)", "scale", bce, kl, r"disagree.*: 0\.1 ?\*? ?exp\(s\) in", std=times(0.1, tf.exp)),
    Loss("KL takes s for log std", "scale", bce, kl_of(tf.exp), r"disagree.*: exp\(s / 2\) in the sampler, exp\(s\)"),
    Loss("softplus", "scale", bce, kl_of(tf.nn.softplus), "right", std=tf.nn.softplus, **BN),
    Loss(
        "softplus(s + 0.54) + 1e-5",
        "scale",
        bce,
        kl_of(shifted_softplus(0.5413, 1e-5)),
        "right",
        std=shifted_softplus(0.5413, 1e-5),
    ),
    Loss(
        "softplus(s - 1) + 0.01",
        "scale",
        bce,
        kl_of(shifted_softplus(-1, 0.01)),
        "right",
        std=shifted_softplus(-1, 0.01),
        **BN_DENSE,
    ),
    Loss("variance softplus(s)", "scale", bce, kl_of(root_softplus), "right", std=root_softplus),
    Loss("std |s|", "scale", bce, kl_of(absolute), "right", std=absolute, **LAYER_NORM),
    Loss("log std, dropout", "scale", bce, kl_of(tf.exp), "right", std=tf.exp, **DROPOUT),
    Loss("z not sampled", "scale", bce, kl, "z is not sampled", std=times(0.0, half_log), **BN),
    Loss("sampler exp(s), dropout", "scale", bce, kl, r"disagree.*: exp\(s\) in the sampler", std=tf.exp, **DROPOUT),
    # Clamps
    Loss(
        "log variance in [-10, 10]",
        "clamp",
        bce,
        clamped(-10, 10),
        "right",
        std=lambda s: tf.exp(tf.clip_by_value(s, -10, 10) / 2),
        **GROUP,
    ),
    Loss(
        "mean L1 + 1e-6 KL in [-30, 20]",
        "clamp",
        mae,
        times(1e-6, averaged(clamped(-30, 20))),
        rf"{PIXELS}.*counted (1\.00?|9\.9\d)e-0[67]",
        grey=True,
        **GROUP,
    ),
    Loss("log(p + 1e-10)", "clamp", log_bce, kl, "right", network="conv"),
    # Estimators
    Loss("KL by the sample", "estimator", bce_logits, one_sample_kl, "right", network="conv", output=None),
    Loss("KL by the sample, BN", "estimator", bce_logits, one_sample_kl, "right", output=None, **BN),
    Loss("beta-TCVAE, beta 6", "estimator", bce_logits, tc_kl(6.0), WITHHELD, output=None),
    Loss("beta-TCVAE, beta 2, BN", "estimator", bce, tc_kl(2.0), WITHHELD, **BN),
    Loss("two samples of z", "estimator", bce, kl, "right", samples=2, **LAYER_NORM),
    Loss("free bits", "estimator", bce, free_bits, WITHHELD),
    Loss("capacity", "estimator", averaged(bce), capacity, f"{WITHHELD}|counted 10.0", **BN),
    Loss("MMD", "estimator", averaged(bce), mmd, WITHHELD),
    Loss("KL(p || q)", "estimator", bce, reverse_kl, WITHHELD),
    # Terms that are wrong, or more
    Loss("KL without the logarithm", "terms", bce, no_log_kl, WITHHELD, network="conv"),
    Loss("KL with exp(s)^2", "terms", bce, squared_variance_kl, WITHHELD),
    Loss("KL without the square of the mean", "terms", bce, unsquared_mean_kl, WITHHELD, **BN),
    Loss("square of the mean for the KL", "terms", mse, square_of_mean, WITHHELD, **GROUP),
    Loss("pos_weight 2", "terms", weighted_bce, kl, WITHHELD, output=None),
    Loss("pos_weight 2, BN", "terms", weighted_bce, kl, WITHHELD, output=None, **BN),
    Loss("Huber", "terms", huber, averaged(kl), WITHHELD, grey=True),
    Loss("edges", "terms", edges, kl, WITHHELD, network="conv"),
    Loss("l2 of kernels, 1e-4", "terms", bce, kl, WITHHELD, l2=(("encoder", 1e-4), ("decoder", 1e-4))),
    Loss("l2 of kernels, 1e-3, BN", "terms", bce, kl, WITHHELD, l2=(("encoder", 1e-3), ("decoder", 1e-3)), **BN),
    Loss("l2 of the decoder's kernels", "terms", bce, kl, WITHHELD, l2=(("decoder", 0.01),)),
    Loss("L1 of z", "terms", bce, sparse_kl, WITHHELD),
    Loss("KL with the wrong sign", "terms", bce, times(-1, kl), "wrong sign", **BN_DENSE),
    Loss("no KL, BN", "terms", averaged(bce), nothing, "KL is missing", **BN),
    # Schedules
    Loss("a weight of 0.1 now", "schedule", bce, lambda m, s, z: _BETA * kl(m, s), r"counted 0\.1", **BN),
    Loss("a weight that grows by calls", "schedule", averaged(bce), lambda m, s, z: warming_up(m, s, z), WITHHELD),
    Loss("beta 4 reaches", "schedule", bce, times(4, kl), "right", beta=4.0, **DROPOUT),
    Loss("beta 4 never reaches", "schedule", bce, kl, "beta is 4, but never reaches", beta=4.0, **BOTH),
    # Layers
    Loss("noise layer", "layers", bce, kl, "right", between="noise", training=True),
    Loss("BN in inference mode", "layers", bce, kl, "right", network="conv", between="batch norm", training=False),
    Loss("dropout off", "layers", bce, kl, "right", between="dropout", training=False),
    Loss("BN and dropout", "layers", bce, kl, "right", **BOTH),
    Loss("probabilities for logits, BN", "layers", bce_logits, kl, "they are probabilities", **BN),
]
_ORDER = np.random.default_rng(20).permutation(len(GALLERY))
TUNED, ASIDE = ([GALLERY[i] for i in sorted(part)] for part in np.split(_ORDER, [len(GALLERY) // 2]))


def main(half="all", start=0, stop=99):
    """Prints the table, a row a loss, and the outcomes' counts."""
    warnings.simplefilter("ignore")
    counts = dict.fromkeys(("right", "withheld", "false"), 0)
    print("| loss | kind | owed | outcome | found |\n|---|---|---|---|---|")
    for row in {"all": GALLERY, "tuned": TUNED, "aside": ASIDE}[half][int(start) : int(stop)]:
        start = time.perf_counter()
        audit = row.run(**QUICK)
        counts[outcome := row.outcome(audit)] += 1
        print(f"| {row.name} | {row.kind} | {row.says} | {outcome} | {'; '.join(audit.findings)} |", flush=True)
        print(f"{time.perf_counter() - start:.1f} s, unexplained {audit.unexplained:.2g}", file=sys.stderr, flush=True)
    print("\n" + ", ".join(f"{n} {outcome}" for outcome, n in counts.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
