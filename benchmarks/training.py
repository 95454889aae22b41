"""Small trainings whose models are measured and thrown away."""

import math


def trained(recipe, batch_sizes=()):
    """The `VAE` that a recipe trains, without the files of a run, and its data.

    Args:
        recipe: a `Recipe`.
        batch_sizes: in place of the recipe's, as many epochs of each in turn, under one cosine.
    """
    import tf_keras as tfk

    from tfvae import recipes
    from tfvae.train import averaging

    data = recipe.load_data()
    recipe = recipe.complete(data)
    vae = recipes.build(recipe)
    recipes.compile(vae, recipe, data.train_size)
    if recipe.mean_bias:
        recipes.start_at_mean(vae, data)
    callbacks = []
    if recipe.averaged_epochs:
        first = recipe.epochs - recipe.averaged_epochs
        callbacks.append(averaging.AveragedWeights(vae.trainable_variables, first))
    sizes = batch_sizes or (recipe.batch_size,)
    epochs = recipe.epochs // len(sizes)
    if batch_sizes:
        num_updates = sum(epochs * math.ceil(data.train_size / size) for size in sizes)
        vae.optimizer.learning_rate = tfk.optimizers.schedules.CosineDecay(recipe.learning_rate, num_updates, 0.01)
    for i, size in enumerate(sizes):
        span = {"initial_epoch": i * epochs, "epochs": (i + 1) * epochs}
        vae.fit(data.train(size), callbacks=callbacks, verbose=0, **span)
    return vae, data
