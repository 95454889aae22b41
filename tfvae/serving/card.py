"""The card beside an exported model: what it is, how good it is, what it answers; as JSON and as a page.

Mitchell et al. (2019, "Model Cards for Model Reporting", arXiv 1810.03993).
"""

import json
import pathlib

import tensorflow as tf

from tfvae import __version__, diagnostics
from tfvae.serving.signatures import TakesBytes, inputs_of
from tfvae.support import files
from tfvae.support.weights import num_parameters

CARD, PAGE = "model_card.json", "model_card.md"

_SOURCES = {
    "mnist10k": "12,000 images of MNIST (LeCun, Cortes and Burges 1998, CC BY-SA 3.0)",
    "digits": "the digits of scikit-learn: 1,797 pictures of 8 x 8 pixels, ink counted from 0 to 16 (UCI, Optical "
    "Recognition of Handwritten Digits, Alpaydin and Kaynak 1998, CC BY 4.0)",
    "mnist": "MNIST (LeCun, Cortes and Burges 1998)",
    "fashion_mnist": "Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, MIT)",
    "cifar10": "CIFAR-10 (Krizhevsky 2009)",
}


def write(directory: pathlib.Path, vae, functions: dict, num_samples: int, evaluation, served, licence):
    """Writes the card of `export`; `served` are the export's own means over the test set, or None."""
    recipe = None if vae.recipe is None else vae.recipe.to_dict()
    to_support = vae.decoder.to_support_rule if isinstance(vae.decoder, TakesBytes) else "as they are"
    card = {
        "model": f"{'conditional ' if vae.num_classes else ''}variational autoencoder",
        "event_shape": list(vae.event_shape),
        "latent_size": vae.latent_size,
        "num_parameters": num_parameters(vae),
        "data": None if recipe is None else _SOURCES.get(recipe["data"], recipe["data"]),
        "image": " and ".join(vae.inputs_accepted.rules(support=False)),
        "image_of_elbo_and_log_evidence": vae.inputs_accepted.support,
        "label": " and ".join(vae.label_rules) if vae.num_classes else None,
        "bytes": f"divided by 255, then {to_support}",
        "num_samples": num_samples,
        "signatures": {name: _described(function) for name, function in functions.items()},
        "evaluation": evaluation,
        "served": served,
        "recipe": recipe,
        "versions": {"tfvae": __version__, "tensorflow": tf.__version__},
        "licence": licence or "not stated",
    }
    files.write_json(directory / CARD, card)
    files.write_bytes(directory / PAGE, _page(card).encode())


def _described(function):
    inputs = {spec.name: _spec(spec) for spec in inputs_of(function)}
    outputs = {name: _spec(tensor) for name, tensor in function.structured_outputs.items()}
    return {"about": " ".join(function.__doc__.split()), "inputs": inputs, "outputs": outputs}


def _spec(tensor):
    return {"dtype": tensor.dtype.name, "shape": ["batch", *tensor.shape[1:]]}


def _page(card):
    served, evaluation = card["served"], card["evaluation"]
    size = " x ".join(str(size) for size in card["event_shape"])
    rows = [
        f"| `{name}` | {_tensors(s['inputs'])} | {_tensors(s['outputs'])} | " + s["about"].replace("|", "\\|") + " |"
        for name, s in card["signatures"].items()
    ]
    parts = [
        f"# {card['model'].capitalize()}, {card['latent_size']} latents, images of {size}",
        f"Trained on {card['data'] or 'data that no recipe names'}. {card['num_parameters']:,} parameters. "
        f"Licence: {card['licence']}.",
        "## Signatures",
        "| signature | inputs | outputs | |\n|---|---|---|---|\n" + "\n".join(rows),
        f"The batch is free; an answer depends on its row alone. S = {card['num_samples']}. An `image` must be "
        f"{card['image']}; for `elbo` and `log_evidence` {card['image_of_elbo_and_log_evidence']}. "
        f"Bytes are {card['bytes']}." + (f" A `label` must be {card['label']}." if card["label"] else ""),
        "## Measured",
        "Not measured." if evaluation is None else f"```\n{diagnostics.format_card(evaluation)}\n```",
    ]
    if served is not None:
        parts.append(
            f"What the signatures themselves say of the first {served['num_images']:,} test images (S = "
            f"{served['num_samples']}; {served['seeds']}), means in nats per image: `elbo` {served['elbo']:.2f} +- "
            f"{served['elbo_mc_standard_error']:.2f} over the noise, `log_evidence`, a lower bound on the log evidence "
            f"above, {served['log_evidence']:.2f}."
        )
        if usual := served.get("usual_range"):
            parts.append(
                f"`anomaly`: usual are {usual['low']:.2f} to {usual['high']:.2f} nats, the range fitted to "
                f"{usual['num_held_out']:,} validation images for {usual['false_alarm_rate']:.1%} of false alarms. Of "
                f"these test images {served['anomalies']:.1%} lie outside."
            )
    if card["recipe"] is not None:
        parts += ["## Recipe", f"```json\n{json.dumps(card['recipe'])}\n```"]
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    parts.append(f"Written by {versions}. The same for programs: `{CARD}`.")
    return "\n\n".join(parts) + "\n"


def _tensors(specs):
    return ", ".join(f"`{name}` {s['dtype']} [{', '.join(map(str, s['shape']))}]" for name, s in specs.items())
