"""The posterior and the prior that a recipe names: they can depend on each other, so they are made together."""

from tfvae import hierarchical, networks, posteriors, priors

HIERARCHICAL = ("bottom_up", "top_down")
POSTERIORS = ("diagonal_normal", "full_normal", "iaf", "coupling", *HIERARCHICAL)
PRIORS = ("standard_normal", "normal_mixture", "vamp", "flow", "hierarchical")


def check(recipe):
    """Raises ValueError unless the recipe's posterior, prior and latent sizes fit together."""
    layered = recipe.posterior in HIERARCHICAL
    if layered and recipe.prior != "hierarchical":
        raise ValueError(f"prior must be hierarchical with posterior {recipe.posterior}, got {recipe.prior}")
    if not layered and recipe.prior == "hierarchical":
        raise ValueError(
            f"posterior must be {' or '.join(HIERARCHICAL)} with prior hierarchical, got {recipe.posterior}"
        )
    sizes = recipe.latent_sizes
    if not layered and sizes is not None:
        raise ValueError(f"latent_sizes must be None with posterior {recipe.posterior}, got {sizes}")
    if layered and (sizes is None or len(sizes) < 2 or min(sizes) < 1):
        raise ValueError(f"latent_sizes must hold at least two sizes of at least 1, got {sizes}")
    for name in (recipe.posterior, recipe.prior):
        if name in ("iaf", "coupling", "flow") and recipe.latent_size < 2:
            raise ValueError(f"latent_size must be at least 2 for {name}, got {recipe.latent_size}")


def build(recipe, body, seed, prior_seed):
    """q(z|x) and p(z).

    Args:
        body: a Keras body, [B, *event_shape] -> features.
        seed, prior_seed: of the initial weights of each.
    """
    if recipe.posterior in HIERARCHICAL:
        return _hierarchical(recipe, body, seed, prior_seed)
    flow = {"num_steps": recipe.flow_steps, "hidden_sizes": recipe.flow_hidden_sizes}
    options = flow if recipe.posterior in ("iaf", "coupling") else {}
    encoder = getattr(posteriors, recipe.posterior)(body, recipe.latent_size, seed=seed, **options)
    if recipe.prior == "standard_normal":
        return encoder, priors.standard_normal(recipe.latent_size)
    if recipe.prior == "normal_mixture":
        return encoder, priors.normal_mixture(recipe.latent_size, recipe.num_components, seed=prior_seed)
    if recipe.prior == "flow":
        return encoder, priors.flow(recipe.latent_size, seed=prior_seed, **flow)
    return encoder, priors.vamp(encoder, recipe.num_pseudo_inputs, seed=prior_seed)


def _hierarchical(recipe, body, seed, prior_seed):
    sizes = recipe.latent_sizes

    def bodies(inputs, first_seed):
        """One body for each size of its inputs."""
        return [
            networks.mlp((size,), recipe.layer_hidden_sizes, recipe.activation, seed=first_seed + 10 * (i + 1))
            for i, size in enumerate(inputs)
        ]

    prior = hierarchical.prior(bodies(sizes[1:], prior_seed), sizes, seed=prior_seed)
    if recipe.posterior == "bottom_up":
        return hierarchical.bottom_up([body, *bodies(sizes[:-1], seed)], sizes, seed=seed), prior
    # Upwards, each body reads the features of the one below.
    features = (recipe.layer_hidden_sizes or body.output_shape)[-1:]
    upper = bodies([body.output_shape[-1], *features * (len(sizes) - 2)], seed)
    return hierarchical.top_down([body, *upper], sizes, prior, seed=seed), prior
