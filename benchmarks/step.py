"""Where the time of a training step goes: the step, ways to compile it, and its parts by themselves.

    python benchmarks/step.py                   two minutes; writes results/step.json

The model is 784-400-20 on binarized images. All run in one process, in turn; medians over the rounds. "Products" are
the matrix products of the step at its own shapes, forwards and backwards, and nothing else; "as one large product" is
the time that as many operations take in the quickest product that the processor was seen to make.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import reports
from throughput import images, peak_flops

HIDDEN, LATENTS = 400, 20
# Of the dense layers: inputs, outputs, and whether the gradient goes on to what is before.
LAYERS = [(784, HIDDEN, False), (HIDDEN, 2 * LATENTS, True), (LATENTS, HIDDEN, True), (HIDDEN, 784, True)]
OPERATIONS = 2 * sum(n * m * (3 if goes_on else 2) for n, m, goes_on in LAYERS)  # an image
BATCH_SIZES = (128, 1024)


def loops(batch_size, data):
    """{name: a call that takes so many steps} of the step as it can be compiled, and of its parts."""
    import tensorflow as tf
    import tf_keras as tfk

    from tfvae import Recipe, recipes
    from tfvae.loop import Loop

    recipe = Recipe(data="mnist", binarize="stochastic", hidden_sizes=(HIDDEN,), latent_size=LATENTS, activation="relu")
    epochs = data.train(batch_size).in_memory

    def training(step_of, jit):
        vae = recipes.build(recipe.complete(data))
        vae.compile(tfk.optimizers.Adam(1e-3))
        vae.optimizer.build(vae.trainable_variables)
        vae._loop = Loop(step_of(vae), epochs, batch_size, jit=jit)
        vae._loop.start(0)
        return vae._loop.run

    def without_the_test(vae):
        vae._apply_while_finite = lambda loss, gradients, step: vae.optimizer.apply_gradients(gradients)
        return vae.train_step

    def products(dtype):
        weights = [tf.cast(tf.random.normal([n, m]), dtype) for n, m, _ in LAYERS]
        inputs = [tf.cast(tf.random.normal([batch_size, n]), dtype) for n, _, _ in LAYERS]
        outputs = [tf.cast(tf.random.normal([batch_size, m]), dtype) for _, m, _ in LAYERS]

        def step(total):
            for x, w, y, (_, _, goes_on) in zip(inputs, weights, outputs, LAYERS, strict=True):
                made = [tf.matmul(x, w), tf.matmul(x, y, transpose_a=True)]
                made += [tf.matmul(y, w, transpose_b=True)] if goes_on else []
                total += sum(tf.cast(product[0, 0], tf.float32) for product in made)
            return total

        return repeated(step)

    def repeated(step):
        run = tf.function(lambda n: tf.while_loop(lambda i, _: i < n, lambda i, t: (i + 1, step(t)), (0, 0.0))[1])
        return lambda num_steps: run(tf.constant(num_steps)).numpy()

    def reading(vae):
        seen = tf.Variable(0.0)
        return lambda x: seen.assign_add(x[0, 0, 0, 0])

    def updates(vae):
        gradients = [(tf.ones_like(variable), variable) for variable in vae.trainable_variables]
        return lambda x: vae.optimizer.apply_gradients(gradients)

    return {
        "step": training(lambda vae: vae.train_step, jit=False),
        "step, XLA": training(lambda vae: vae.train_step, jit=True),
        "step, XLA, updates not withheld where they are not finite": training(without_the_test, jit=True),
        "images gathered and binarized": training(reading, jit=False),
        "Adam's updates": training(updates, jit=False),
        "products": products(tf.float32),
        "products, bfloat16": products(tf.bfloat16),
    }


def measured(batch_size, data, rounds, num_steps):
    """{name: milliseconds a step}."""
    calls = loops(batch_size, data)
    taken = {name: [] for name in calls}
    for i in range(rounds + 2):  # the first two compile and warm up
        for name, run in calls.items():
            started = time.perf_counter()
            run(num_steps)
            if i >= 2:
                taken[name].append(1000 * (time.perf_counter() - started) / num_steps)
    return {name: statistics.median(times) for name, times in taken.items()}


@click.command()
@click.option("--rounds", default=15, type=click.IntRange(1), show_default=True)
@reports.output_option("step")
def main(rounds, output):
    """Milliseconds of a step and of its parts; see the file's head."""
    from tfvae import data

    grey = images().reshape(-1, 28, 28, 1)
    stored = data.from_arrays(grey[:20_480], grey[:10], validation_size=0, binarize="stochastic")
    report = reports.head() | {"matrix_product_flops": {d: peak_flops(d, 2048) for d in ("float32", "bfloat16")}}
    report["milliseconds"] = {}
    for batch_size in BATCH_SIZES:
        found = measured(batch_size, stored, rounds, num_steps=4096 // batch_size)
        flops = report["matrix_product_flops"]["float32"]
        found["as one large product"] = 1000 * OPERATIONS * batch_size / flops
        report["milliseconds"][batch_size] = found
        click.echo(f"batch {batch_size}, milliseconds a step")
        for name, value in found.items():
            click.echo(f"  {name:<62}{value:>8.2f}")
    reports.write(output, report)


if __name__ == "__main__":
    main()
