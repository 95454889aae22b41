"""Small trainings whose models are measured and thrown away."""


def trained(recipe):
    """The `VAE` that a recipe trains, without the files of a run, and its data."""
    from tfvae import averaging, recipes

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
    vae.fit(data.train(recipe.batch_size), epochs=recipe.epochs, callbacks=callbacks, verbose=0)
    return vae, data
