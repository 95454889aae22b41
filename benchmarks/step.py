"""Where the time of a training step goes: the step, ways to compile it, and its parts by themselves.

    python benchmarks/step.py                   minutes; writes results/step.json

The models are some of throughput.py's, on binarized images. All run in one process, in turn; medians over the rounds.
"Products" are the matrix products of the step at its own shapes, forwards and backwards, and nothing else; "as one
large product" is the time that as many operations take in the quickest product that the processor was seen to make.
"""

import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import click
import contenders
import reports
from throughput import images, peak_flops

CASES = (("mlp-400-20", 128), ("mlp-400-20", 1024), ("mlp-200-200-50", 1024), ("iwae-50", 128))


def loops(model, batch_size, data):
    """{name: a call that takes so many steps} of the step as it can be compiled, and of its parts."""
    import tensorflow as tf
    import tf_keras as tfk

    from tfvae import Recipe, objectives, recipes
    from tfvae.likelihoods import bernoulli
    from tfvae.train.loop import Loop

    recipe = Recipe(
        data="mnist",
        binarize="stochastic",
        hidden_sizes=model.hidden,
        latent_size=model.latent_size,
        activation=model.activation,
    )
    objective = objectives.elbo if model.num_samples == 1 else objectives.iwae(model.num_samples)
    epochs = data.train(batch_size).in_memory

    def training(step_of, jit):
        vae = recipes.build(recipe.complete(data))
        vae.compile(tfk.optimizers.Adam(1e-3), objective)
        vae.optimizer.build(vae.trainable_variables)
        loop = Loop(step_of(vae), epochs, batch_size, jit=jit)
        loop.start(0)
        return loop.run

    def without_the_test(vae):
        vae._guard.apply = lambda optimizer, loss, gradients: optimizer.apply_gradients(gradients)
        return vae.train_step

    def products(dtype):
        made = []
        for rows, n, m, goes_on in contenders.products(model):
            rows *= batch_size
            x, w, y = (tf.cast(tf.random.normal(shape), dtype) for shape in ([rows, n], [n, m], [rows, m]))
            made.append((x, w, y, goes_on))

        def step(total):
            for x, w, y, goes_on in made:
                found = [tf.matmul(x, w), tf.matmul(x, y, transpose_a=True)]
                found += [tf.matmul(y, w, transpose_b=True)] if goes_on else []
                total += sum(tf.cast(product[0, 0], tf.float32) for product in found)
            return total

        return repeated(step)

    def log_likelihood():
        x = tf.cast(tf.random.uniform([batch_size, 784]) < 0.1, tf.float32)
        logits = tf.random.normal([model.num_samples, batch_size, 784])
        make = bernoulli(tfk.Sequential([tfk.layers.InputLayer(784)]), (784,)).distribution

        def step(total):
            with tf.GradientTape() as tape:
                tape.watch(logits)
                value = tf.reduce_mean(make(logits).log_prob(x))
            return total + value + tape.gradient(value, logits)[0, 0, 0]

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
        "log p(x|z) of the logits, and its gradient": log_likelihood(),
        "products": products(tf.float32),
        "products, bfloat16": products(tf.bfloat16),
    }


def measured(calls, rounds, num_steps):
    """{name: milliseconds a step}."""
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
    flops = {dtype: peak_flops(dtype, 2048) for dtype in ("float32", "bfloat16")}
    report = reports.head() | {"matrix_product_flops": flops, "milliseconds": {}}
    for name, batch_size in CASES:
        model = contenders.MODELS[name]
        num_steps = max(1, 4096 // (batch_size * model.num_samples))
        found = measured(loops(model, batch_size, stored), rounds, num_steps)
        found["as one large product"] = 1000 * batch_size * contenders.operations(model) / flops["float32"]
        report["milliseconds"][f"{name}, {batch_size}"] = found
        click.echo(f"{name}, batch {batch_size}, milliseconds a step")
        for part, value in found.items():
            click.echo(f"  {part:<62}{value:>8.2f}")
    reports.write(output, report)


if __name__ == "__main__":
    main()
