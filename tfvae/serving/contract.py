"""The contract of an exported model, checked from outside: as a client of a running server."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfvae.client import Client, ServingError
from tfvae.support.rules import checked

TOLERANCE = 1e-5


class Finding(NamedTuple):
    """A line of the check: what was checked; whether it passed, None if it could not be checked; what was answered."""

    about: str
    passed: bool | None
    detail: str


@checked
def check(client: Client, export: Any = None) -> Iterator[Finding]:
    """Checks a server against the contract of `serving.export`, by random black and white images (in every support).

    `export` is the directory of the version that is served; None: answers are not compared with the export's.

    >>> client = tfvae.serving.Client("http://127.0.0.1:9", "digits", retries=0)  # nothing listens there
    >>> [finding.passed for finding in tfvae.serving.check(client)]
    [False]
    """
    contract = _Contract(client)
    yield (status := _asked("status: a version is available", contract.available))
    if status.passed:
        yield (metadata := _asked("metadata: signatures, the batch first and free, all else stated", contract.stated))
        if metadata.passed:
            yield from contract.findings(export)


def largest_difference(answer: dict, expected: dict) -> float:
    """Between the arrays of two dicts, for the keys of `expected`; relative where a number exceeds 1; NaN if any is."""
    pairs = [(np.asarray(answer[key], float), np.asarray(value, float)) for key, value in expected.items()]
    return float(np.max([np.max(np.abs(a - b) / np.maximum(1, np.abs(b)), initial=0) for a, b in pairs]))


def _asked(about: str, question: Callable[..., tuple[Any, str]], *args, **kwargs) -> Finding:
    """The finding of a question, which returns (passed, detail); an error of the server is a failure."""
    try:
        passed, detail = question(*args, **kwargs)
    except (ServingError, ValueError, KeyError, TypeError) as error:
        passed, detail = False, f"{error}"
    return Finding(about, bool(passed), detail)


class _Contract:
    """Five good rows for each signature of a server, its answers to them, and the rules for these answers."""

    def __init__(self, client):
        self.client, self.answers = client, {}
        self.by_rest = client.address.startswith("http")

    def available(self):
        states = self.client.status()
        return "AVAILABLE" in states.values(), f"{states}"

    def stated(self):
        self.specs = self.client.signatures()
        self.requests = _requests(self.specs)
        # The further input of a conditional model's signatures: {"label": [B]}, else nothing.
        self.label = {key: value for key, value in self.requests["encode"].items() if key == "label"}
        tensors = [spec for sides in self.specs.values() for side in sides for spec in side.values()]
        stated = [spec.shape[:1] == [None] and None not in spec.shape[1:] for spec in tensors]
        return all(stated), ", ".join(self.specs)

    def findings(self, export):
        for name in self.specs:
            yield _asked(f"{name}: answers, finite, with the shapes it states", self._answers, name)
        if self.by_rest:
            yield from self._each("rows and columns say the same", self._same, slice(None), rows=True)
        yield from self._each("a row alone answers as in a batch", self._same, slice(2, 3))
        yield from self._each("the order of rows does not matter", self._same, [4, 0, 0, 3, 1])
        for about, sides in self._identities().items():
            if about.split(":")[0] in self.specs:
                yield _asked(about, self._agree, sides)
        if export is None:
            yield Finding("numbers equal to those of the export", None, "no --export to compare with")
        else:
            served = tf.saved_model.load(str(export)).signatures
            yield from self._each("equal to the export's own answer", self._as_exported, served)
        for about, (name, inputs, words) in self._malformed().items():
            yield _asked(f"refused: {about}", self._refused, name, self.label | inputs, words)
        yield _asked("after all refusals, a good request", self._same, "encode", slice(None))
        if self.by_rest:
            for about, (name, inputs) in self._lenient().items():
                yield _asked(about, self._same_or_refused, name, inputs)

    def _each(self, about, question, *args, **kwargs):
        for name in self.answers:
            yield _asked(f"{name}: {about}", question, name, *args, **kwargs)

    def _rows(self, name, index):
        return {key: value[index] for key, value in self.requests[name].items()}

    def _answers(self, name):
        answer = self.answers[name] = self.client.predict(name, **self.requests[name])  # which checks it
        return True, ", ".join(f"{key} {list(value.shape)}" for key, value in answer.items())

    def _same(self, name, index, **options):
        answer = self.client.predict(name, **options, **self._rows(name, index))
        return _compared(answer, {key: value[index] for key, value in self.answers[name].items()})

    def _as_exported(self, name, served):
        inputs = {key: tf.convert_to_tensor(value) for key, value in self.requests[name].items()}
        return _compared(self.answers[name], {key: value.numpy() for key, value in served[name](**inputs).items()})

    def _agree(self, sides):
        answer, expected = sides()
        return _compared({"": answer}, {"": expected})

    def _identities(self):
        """What signatures say of each other: {about: () -> (answer, expected)}."""
        answers, plain = self.answers, "serving_default"

        def decoded(name):
            return self.client.predict("decode", latent=answers[name]["latent"], **self.label)["image"]

        def of(name, key="reconstruction"):
            return answers[name][key]

        return {
            f"decode: of {plain}'s latents, its reconstructions": lambda: (decoded(plain), of(plain)),
            "decode: of generate's latents, its images": lambda: (decoded("generate"), of("generate", "image")),
            f"encode: its loc is {plain}'s latent": lambda: (of("encode", "loc"), of(plain, "latent")),
            "elbo: log_likelihood - kl": lambda: (of("elbo", "elbo"), of("elbo", "log_likelihood") - of("elbo", "kl")),
            "anomaly: as log_evidence": lambda: (of("anomaly", "log_evidence"), of("log_evidence", "log_evidence")),
            f"serving_uint8: as {plain}": lambda: (of("serving_uint8"), of(plain)),
            "serving_bytes: as serving_uint8": lambda: (of("serving_bytes"), of("serving_uint8")),
        }

    def _malformed(self):
        """Bad requests: {about: (signature, inputs, words of the refusal, | between those of several servers)}.

        None is empty: a server that batches would never answer it. Batching itself refuses sizes that differ.
        """
        good, seed, label = self.requests["encode"]["image"], self.requests["generate"]["seed"], self.label
        spoilt = np.where(np.indices(good.shape)[0] == 1, np.float32(np.nan), good)
        bad = {
            "NaN": ("encode", {"image": spoilt}, "image must be finite"),
            "another shape": ("encode", {"image": np.concatenate([good, good], axis=1)}, "image must have shape"),
            "fewer seeds than images": ("elbo", {"image": good, "seed": seed[:2]}, "batch size|0th-dimension size"),
            "an infinite latent": ("decode", {"latent": np.full_like(self.requests["decode"]["latent"], np.inf)}, ""),
            "an input left out": ("log_evidence", {"image": good}, "seed"),
            "an input of another name": ("encode", {"picture": good}, "picture|named input: image"),
            "an unknown signature": ("nothing", {"image": good}, "nothing"),
            "text for numbers": ("generate", {"seed": np.array([b"text"], object)}, ""),
        }
        if label:
            unknown, fewer = {"image": good, "label": -label["label"]}, {"image": good, "label": label["label"][:2]}
            bad["a label that is no class"] = ("encode", unknown, "label must be in [0, ")
            bad["fewer labels than images"] = ("encode", fewer, "batch size|0th-dimension size")
        if good.ndim == 4:
            bad["values above 1"] = ("encode", {"image": good * 255}, "image must be in [0, 1]")
        if "serving_bytes" in self.specs:
            broken = np.array([b"no picture"] * len(good), object)
            bad["no picture"] = ("serving_bytes", {"image_bytes": broken}, "image_bytes must hold PNG or JPEG")
        return bad

    def _refused(self, name, inputs, words):
        try:
            self.client.send(name, inputs)
        except ServingError as error:
            named = any(word in str(error) for word in words.split("|"))
            return named and error.code in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION"), f"{error}"
        return False, f"{name} answered"

    def _lenient(self):
        """Bad requests that TF Serving's JSON makes good before the graph sees them: {about: (signature, inputs)}."""
        image = self.requests["encode"]["image"]
        bad = {"an unknown input in columns is ignored, or refused": ("encode", {"unknown": image})}
        if "serving_uint8" in self.specs:
            above = self.requests["serving_uint8"]["image"].astype(int) + 256
            bad["256 for a byte is taken as 0, or refused"] = ("serving_uint8", {"image": above})
        return bad

    def _same_or_refused(self, name, inputs):
        try:
            return _compared(self.client.send(name, self.requests[name] | inputs), self.answers[name])
        except ServingError as error:
            return error.code == "INVALID_ARGUMENT", f"{error}"


def _requests(specs):
    rng = np.random.default_rng(0)
    (shape,) = {tuple(specs[name][0]["image"].shape[1:]) for name in ("serving_default", "encode")}
    x = rng.integers(0, 2, size=(5, *shape)).astype(np.float32)
    seeds = rng.integers(-(2**63), 2**63, size=5, dtype=np.int64)
    image = (255 * x).astype(np.uint8)
    known = {
        "latent": lambda spec: rng.normal(size=(5, *spec.shape[1:])).astype(np.float32),
        "seed": lambda spec: seeds,
        "image": lambda spec: image if spec.dtype == "uint8" else x,
        "label": lambda spec: np.array([0, 1, 1, 0, 1]),  # every conditional model has these two classes
        "image_bytes": lambda spec: np.array([tf.io.encode_png(picture).numpy() for picture in image], object),
    }
    return {name: {key: known[key](spec) for key, spec in inputs.items()} for name, (inputs, _) in specs.items()}


def _compared(answer, expected):
    difference = largest_difference(answer, expected)
    return answer.keys() == expected.keys() and difference <= TOLERANCE, f"largest difference {difference:.1e}"
