"""Is log p(x) within its stated errors? `laplace_log_evidence` against exact values, quadrature and longer runs.

    python benchmarks/calibration.py            about ten minutes; writes results/calibration.json

`linear` is exact; `curved` has two latents, a decoder that folds them, and is integrated on a grid; `digits` is the
main job's model, trained here. For `digits` and the papers' rows, whose log p(x) nobody knows, the reference has ten
times the draws from four times the starts, by another seed; its own error is in the comparison. Beside it stands the
bound by 5,000 draws of q(z|x) with the error that its draws state.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import numpy as np
import reports

ROWS = ("vae-1", "iwae-5", "iwae-50", "iaf", "vamp")


def linear_row():
    """The stored linear model, 50 images and their exact log p(x)."""
    import papers
    import tensorflow as tf

    from tfvae import linear

    vae, x = papers.stored("linear")[0], papers.first_test_images("linear")
    kernel, bias = (weight.numpy() for weight in vae.decoder.params.weights)
    model = linear.LinearGaussian(kernel.T, bias, float(tf.convert_to_tensor(vae.decoder.scale)) ** 2)
    return vae, x, model.evidence.log_prob(x.reshape(len(x), -1).astype(np.float64)).numpy()


def curved():
    """Two latents, folded by the decoder; 200 draws and their log p(x) by the trapezoidal rule."""
    import tensorflow as tf
    import tensorflow_probability as tfp

    import tfvae

    tfd = tfp.distributions

    def decode(z):
        a, b = tf.unstack(z, axis=-1)
        loc = tf.stack([a**2, a * b, tf.sin(2 * b), b**2], axis=-1)
        return tfd.MultivariateNormalDiag(loc, tf.fill([4], tf.constant(0.4, z.dtype)))

    def encode(x):
        return tfd.MultivariateNormalDiag(x[:, :2] / 2, tf.ones_like(x[:, :2]) / 2)

    vae = tfvae.VAE(encode, decode, tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64)))
    x = vae.decode(vae.prior.sample(200, seed=[0, 1])).sample(seed=[0, 2])
    axis = np.linspace(-7, 7, 701)
    z = tf.constant(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 1, 2))
    px_z, log_pz = vae.decode(z), vae.prior.log_prob(z)
    joint = (np.ravel(px_z.log_prob(row[tf.newaxis]) + log_pz) for row in x)
    return vae, x, np.array([np.logaddexp.reduce(values) for values in joint]) + 2 * np.log(axis[1] - axis[0])


def digits():
    """The main job's model and its test images."""
    import tfvae
    from tfvae import recipes

    images = tfvae.data.load("digits")
    recipe = recipes.Recipe(data="digits").complete(images)
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, len(images.x_train))
    vae.fit(images.train(recipe.batch_size), epochs=recipe.epochs, verbose=0)
    return vae, images.x_test, None


def stored(row):
    import papers

    return papers.stored(row)[0], papers.first_test_images(row), None


def compared(vae, x, exact):
    """A row of the table."""
    from tfvae import diagnostics

    started = time.process_time()
    found = diagnostics.laplace_log_evidence(vae, x)
    seconds = time.process_time() - started
    reference, error = exact, np.zeros(len(x))
    if exact is None:
        longer = diagnostics.laplace_log_evidence(vae, x, 20_000, num_starts=64, seed=1)
        reference, error = longer.value, longer.standard_error
    bound = diagnostics.log_evidence(vae, x)
    row = {"images": len(x), "reference": float(reference.mean()), "processor_ms": 1000 * seconds / len(x)}
    for name, estimate, num_samples in (("fitted", found, 2000), ("bound", bound, 5000)):
        z = (estimate.value - reference) / np.hypot(estimate.standard_error, error)
        row[name] = {
            "log_evidence": float(estimate.value.mean()),
            "standard_error": diagnostics.error_of_mean(estimate.standard_error),
            "within_two": float(np.mean(np.abs(z) < 2)),
            "effective": float(np.median(estimate.effective_samples)),
            "reliable": float(np.mean(estimate.pareto_k < diagnostics.reliable_k(num_samples))),
        }
    return row


@click.command()
@reports.output_option("calibration")
def main(output):
    """Shares of images within two stated errors; see the file's head."""
    models = {"linear": linear_row, "curved": curved, "digits": digits}
    models |= {row: lambda row=row: stored(row) for row in ROWS}
    rows = {}
    for name, make in models.items():
        rows[name] = compared(*make())
        fitted, bound = rows[name]["fitted"], rows[name]["bound"]
        click.echo(
            f"{name:<8} {rows[name]['reference']:9.3f}  fitted {fitted['log_evidence']:9.3f} +- "
            f"{fitted['standard_error']:.3f}, {fitted['within_two']:.0%} within two errors; bound "
            f"{bound['log_evidence']:9.3f} +- {bound['standard_error']:.3f}, {bound['within_two']:.0%}; "
            f"{rows[name]['processor_ms']:.0f} ms an image"
        )
    reports.write(output, reports.head() | {"rows": rows})


if __name__ == "__main__":
    main()
