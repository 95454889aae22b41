"""The contract of an exported model, checked from outside: as a client of a running server."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.serving.transports import ServingError

_TOLERANCE = 1e-5
_IMAGE_SIGNATURES = ("serving_default", "encode")


class Finding(NamedTuple):
    """One line of the check.

    Attributes:
        about: what was checked.
        passed: True, False, or None where it could not be asked.
        detail: what was seen.
    """

    about: str
    passed: bool | None
    detail: str


def check(client, export=None, seed=0):
    """Asks a server for all that the contract of `serving.export` promises: a generator of `Finding`s.

    The images sent are black and white at random: these have a probability under every likelihood.

    Args:
        client: a `serving.Client`.
        export: the directory of the version that is served, if it can be read: its answers are then compared too.
        seed: of the images.
    """
    with _Asked("status: a version is available") as found:
        states = client.status()
        found(any(state == "AVAILABLE" for state in states.values()), f"{states}")
    yield found.finding
    with _Asked("metadata: signatures, the batch first and free") as found:
        specs = client.signatures()
        tensors = [spec for sides in specs.values() for side in sides for spec in side.values()]
        found(all(spec.shape and spec.shape[0] is None for spec in tensors), ", ".join(sorted(specs)))
    yield found.finding
    if not found.finding.passed:
        return
    requests = _requests(specs, np.random.default_rng(seed))
    answers = {}
    for name in specs:
        with _Asked(f"{name}: answers, finite, with the shapes it states") as found:
            answers[name] = client.predict(name, **requests[name])
            found(_fits(answers[name], specs[name][1], 5), _shapes(answers[name]))
        yield found.finding
    for checks in (_same_in_rows, _alone, _reordered, _agreeing, _as_exported, _malformed, _empty):
        yield from checks(client, specs, requests, answers, export)


class _Asked:
    """Collects one finding; an error of the server is a finding too."""

    def __init__(self, about):
        self.about, self.finding = about, None

    def __enter__(self):
        return self

    def __call__(self, passed, detail):
        self.finding = Finding(self.about, bool(passed), detail)

    def __exit__(self, kind, error, traceback):
        if isinstance(error, ServingError | ValueError | KeyError):
            self.finding = Finding(self.about, False, f"{error}")
            return True
        return None


def _requests(specs, rng):
    """Five good rows for each signature."""
    (shape,) = {tuple(specs[name][0]["image"].shape[1:]) for name in _IMAGE_SIGNATURES}
    x = rng.integers(0, 2, size=(5, *shape)).astype(np.float32)
    seeds = rng.integers(-(2**63), 2**63, size=5, dtype=np.int64)
    image = (255 * x).astype(np.uint8)
    known = {"latent": lambda spec: rng.normal(size=(5, *spec.shape[1:])).astype(np.float32)}
    known["seed"] = lambda spec: seeds
    known["image"] = lambda spec: image if spec.dtype == "uint8" else x
    known["label"] = lambda spec: np.array([0, 1, 1, 0, 1])  # every conditional model has these
    known["image_bytes"] = lambda spec: np.array([tf.io.encode_png(picture).numpy() for picture in image], object)
    return {name: {key: known[key](spec) for key, spec in inputs.items()} for name, (inputs, _) in specs.items()}


def _same_in_rows(client, specs, requests, answers, export):
    if client.address.startswith("http"):
        for name in answers:
            with _Asked(f"{name}: rows and columns say the same") as found:
                _compared(found, client.predict(name, rows=True, **requests[name]), answers[name])
            yield found.finding


def _alone(client, specs, requests, answers, export):
    for name in answers:
        with _Asked(f"{name}: a row alone answers as in a batch") as found:
            alone = client.predict(name, **{key: value[2:3] for key, value in requests[name].items()})
            _compared(found, alone, {key: value[2:3] for key, value in answers[name].items()})
        yield found.finding


def _reordered(client, specs, requests, answers, export):
    order = [4, 0, 0, 3, 1]
    for name in answers:
        with _Asked(f"{name}: the order of rows does not matter") as found:
            answer = client.predict(name, **{key: value[order] for key, value in requests[name].items()})
            _compared(found, answer, {key: value[order] for key, value in answers[name].items()})
        yield found.finding


def _agreeing(client, specs, requests, answers, export):
    """Signatures among themselves."""
    label = _label(requests)
    identities = {
        "decode: of serving_default's latents, its reconstructions": lambda a: (
            client.predict("decode", latent=a["serving_default"]["latent"], **label)["image"],
            a["serving_default"]["reconstruction"],
        ),
        "decode: of generate's latents, its images": lambda a: (
            client.predict("decode", latent=a["generate"]["latent"], **label)["image"],
            a["generate"]["image"],
        ),
        "encode: its loc is serving_default's latent": lambda a: (a["encode"]["loc"], a["serving_default"]["latent"]),
        "elbo: log_likelihood - kl": lambda a: (a["elbo"]["elbo"], a["elbo"]["log_likelihood"] - a["elbo"]["kl"]),
        "serving_uint8: as serving_default": lambda a: (
            a["serving_uint8"]["reconstruction"],
            a["serving_default"]["reconstruction"],
        ),
        "serving_bytes: as serving_uint8": lambda a: (
            a["serving_bytes"]["reconstruction"],
            a["serving_uint8"]["reconstruction"],
        ),
    }
    for about, sides in identities.items():
        if about.split(":")[0] in specs:
            with _Asked(about) as found:
                answer, expected = sides(answers)
                _compared(found, {"": answer}, {"": expected})
            yield found.finding


def _as_exported(client, specs, requests, answers, export):
    if export is None:
        yield Finding("numbers equal to those of the export", None, "no --export to compare with")
        return
    served = tf.saved_model.load(str(export)).signatures
    for name in answers:
        with _Asked(f"{name}: equal to the export's own answer") as found:
            inputs = {key: tf.convert_to_tensor(value) for key, value in requests[name].items()}
            _compared(found, answers[name], {key: value.numpy() for key, value in served[name](**inputs).items()})
        yield found.finding


def _malformed(client, specs, requests, answers, export):
    """Each is refused with INVALID_ARGUMENT and the words in question; then a good request works."""
    good, label = requests["encode"]["image"], _label(requests)
    evidence = {"image": good, "seed": requests["generate"]["seed"]}
    bad = {
        "NaN": ("encode", {"image": np.where(np.indices(good.shape)[0] == 1, np.nan, good)}, "image must be finite"),
        "another shape": ("encode", {"image": np.concatenate([good, good], axis=1)}, "image must have shape"),
        "fewer seeds than images": ("elbo", {**evidence, "seed": evidence["seed"][:2]}, "batch size"),
        "an infinite latent": ("decode", {"latent": np.full_like(requests["decode"]["latent"], np.inf)}, ""),
        "an input left out": ("log_evidence", {"image": good}, "seed"),
        "an input of another name": ("encode", {"picture": good}, "picture"),
        "an unknown signature": ("nothing", {"image": good}, "nothing"),
        "text for numbers": ("generate", {"seed": np.array([b"text"], object)}, ""),
    }
    if label:
        bad["a label that is no class"] = ("encode", {"image": good, "label": -label["label"]}, "label must be in [0, ")
        bad["fewer labels than images"] = ("encode", {"image": good, "label": label["label"][:2]}, "batch size")
    if good.ndim == 4:
        bad["values above 1"] = ("encode", {"image": good * 255}, "image must be in [0, 1]")
    if "serving_bytes" in specs:
        broken = np.array([b"no picture"] * len(good), object)
        bad["no picture"] = ("serving_bytes", {"image_bytes": broken}, "image_bytes must hold PNG or JPEG")
    for about, (name, inputs, words) in bad.items():
        with _Asked(f"refused: {about}") as found:
            try:
                client.send(name, {key: _float32(value) for key, value in (label | inputs).items()})
                found(False, f"{name} answered")
            except ServingError as error:
                found(error.code in ("INVALID_ARGUMENT", "NOT_FOUND") and words in str(error), f"{error}")
        yield found.finding
    with _Asked("after all refusals, a good request") as found:
        _compared(found, client.predict("encode", image=good, **label), answers["encode"])
    yield found.finding


def _empty(client, specs, requests, answers, export):
    if client.address.startswith("http"):
        with _Asked("refused: rows of an empty batch, by REST itself") as found:
            try:
                client.send("generate", {key: value[:0] for key, value in requests["generate"].items()}, rows=True)
                found(False, "generate answered")
            except ServingError as error:
                found(error.code == "INVALID_ARGUMENT", f"{error}")
        yield found.finding
        return
    for name in answers:
        with _Asked(f"{name}: an empty batch has an empty answer") as found:
            answer = client.predict(name, **{key: value[:0] for key, value in requests[name].items()})
            found(_fits(answer, specs[name][1], 0), _shapes(answer))
        yield found.finding


def _label(requests):
    """What a conditional model's signatures take besides: {"label": [B]}, or nothing."""
    return {key: value for key, value in requests["encode"].items() if key == "label"}


def _compared(found, answer, expected):
    differences = [
        np.max(np.abs(answer[key] - value) / np.maximum(1, np.abs(value)), initial=0) for key, value in expected.items()
    ]
    found(
        answer.keys() == expected.keys() and max(differences) <= _TOLERANCE,
        f"largest difference {max(differences):.1e}",
    )


def _fits(answer, specs, size):
    shapes = {key: (size, *spec.shape[1:]) for key, spec in specs.items()}
    return {key: value.shape for key, value in answer.items()} == shapes and all(
        np.all(np.isfinite(value)) for value in answer.values()
    )


def _shapes(answer):
    return ", ".join(f"{key} {list(value.shape)}" for key, value in answer.items())


def _float32(array):
    return array.astype(np.float32) if array.dtype == np.float64 else array
