"""The posterior and the prior that a recipe names: they can depend on each other, so they are made together."""

from tfvae import hierarchical, networks, posteriors, priors

HIERARCHICAL = ("bottom_up", "top_down")
POSTERIORS = ("diagonal_normal", "full_normal", "iaf", "coupling", *HIERARCHICAL)
PRIORS = ("standard_normal", "normal_mixture", "vamp", "flow", "hierarchical")


def check(recipe):
    """Raises ValueError unless the recipe's posterior, prior and latent sizes fit together."""
    layered = recipe.posterior in HIERARCHICAL
    if layered != (recipe.prior == "hierarchical"):
        raise ValueError(
            f"prior must be {'' if layered else 'none but '}hierarchical with posterior "
            f"{' or '.join(HIERARCHICAL)}, got {recipe.prior} with {recipe.posterior}"
        )
    if layered != (recipe.latent_sizes is not None):
        raise ValueError(
            f"latent_sizes must be {'given for' if layered else 'None but for'} posterior "
            f"{' or '.join(HIERARCHICAL)}, got {recipe.latent_sizes} with {recipe.posterior}"
        )
    if layered and (len(recipe.latent_sizes) < 2 or min(recipe.latent_sizes) < 1):
        raise ValueError(f"latent_sizes must hold at least two sizes of at least 1, got {recipe.latent_sizes}")
    flows = {recipe.posterior, recipe.prior} & {"iaf", "coupling", "flow"}
    if flows and recipe.latent_size < 2:
        raise ValueError(f"latent_size must be at least 2 for {flows.pop()}, got {recipe.latent_size}")


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
