import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from conftest import ROOT, small_vae
from tensorflow_serving.apis import prediction_log_pb2

import tfvae
from tfvae import diagnostics, recipes, serving
from tfvae.serving import card as model_card

SHIPPED = ROOT / "saved_models"
NUM_SAMPLES = 20


@pytest.fixture(scope="module")
def evaluation(trained_vae, digits):
    return diagnostics.evaluation_card(trained_vae, digits, num_samples=50)


@pytest.fixture(scope="module")
def exported(trained_vae, digits, evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "digits"
    options = {"num_samples": NUM_SAMPLES, "evaluation": evaluation, "licence": "CC0"}
    return serving.export(trained_vae, folder, digits, **options)


def whole(version):
    return all((version / name).exists() for name in ("saved_model.pb", "variables/variables.index", model_card.CARD))


def test_the_export_agrees_with_the_model(exported, trained_vae, digits):
    differences = serving.verify(exported, trained_vae, digits.x_test[:10], NUM_SAMPLES)
    assert len(differences) == 9 and max(differences.values()) < 1e-5


def test_a_different_model_does_not_pass_for_it(exported, digits):
    with pytest.raises(ValueError, match="signature serving_default must agree with the model to 1e-5"):
        serving.verify(exported, small_vae(digits, latent_size=4), digits.x_test[:2], NUM_SAMPLES)


def test_what_is_no_whole_export_is_refused(exported, trained_vae, digits, tmp_path):
    copy = shutil.copytree(exported, tmp_path / "1")
    (copy / model_card.CARD).write_text("{}")
    with pytest.raises(TypeError, match=r"num_samples of .*model_card.json must be an integer of at least 1, got None"):
        serving.verify(copy, trained_vae, digits.x_test[:2])
    for name in (model_card.CARD, "saved_model.pb"):
        (copy / name).unlink()
        with pytest.raises(FileNotFoundError, match=f"path must be a version's directory with a {name}, got"):
            serving.verify(copy, trained_vae, digits.x_test[:2])


def test_what_is_no_evaluation_card_is_refused_before_anything_is_written(trained_vae, tmp_path):
    with pytest.raises(TypeError, match=r"evaluation must be a card of diagnostics.evaluation_card, got \{\}"):
        serving.export(trained_vae, tmp_path, evaluation={})
    assert not list(tmp_path.iterdir())


def test_other_samples_do_not_pass_for_it(exported, trained_vae, digits):
    with pytest.raises(ValueError, match="signature elbo must agree with the model to 1e-5"):
        serving.verify(exported, trained_vae, digits.x_test[:2], NUM_SAMPLES + 1)


def test_it_is_small(digits, tmp_path):
    """The digits model of the main job, whole."""
    vae = recipes.build(recipes.Recipe(data="digits").complete(digits))
    path = serving.export(vae, tmp_path)
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 1.5e6


def test_versions_count_up_and_nothing_is_overwritten(trained_vae, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "kept").write_text("1")
    (tmp_path / "notes").mkdir()
    assert serving.export(trained_vae, tmp_path) == tmp_path / "4"
    assert serving.versions(tmp_path) == [3, 4]
    assert (tmp_path / "3" / "kept").exists()


def test_old_versions_are_removed_on_demand(trained_vae, tmp_path):
    """A SavedModel under any spelling of its number; but nobody's photographs of 2024, and no target of a link."""
    for version in ("1", "002", "2030"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").write_text("1")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "saved_model.pb").write_text("1")
    (tmp_path / "3").symlink_to(tmp_path / "store")
    for name in ("notes", "2024"):
        (tmp_path / name).mkdir()
    serving.export(trained_vae, tmp_path, num_samples=1, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"2030", "2031", "notes", "2024", "store"}
    assert (tmp_path / "store" / "saved_model.pb").exists()


def test_a_file_whose_name_is_a_number_is_stepped_over(trained_vae, tmp_path):
    (tmp_path / "1").write_text("mine")
    assert serving.export(trained_vae, tmp_path, num_samples=1) == tmp_path / "2"
    assert serving.versions(tmp_path) == [2]


def test_exports_at_the_same_moment_take_a_number_each(trained_vae, tmp_path, monkeypatch):
    """The second one ends while the first is at work; each removes the other's old versions."""
    written, write = [], model_card.write

    def slow_write(*args):
        written.append(args)
        if len(written) == 1:
            assert serving.export(trained_vae, tmp_path, num_samples=1, keep=1) == tmp_path / "1"
        write(*args)

    monkeypatch.setattr(model_card, "write", slow_write)
    assert serving.export(trained_vae, tmp_path, num_samples=1, keep=1) == tmp_path / "2"
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


def test_a_full_disk_is_an_error_of_the_system_and_leaves_nothing(trained_vae, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match=r"could not be written: .*File too large"):
            serving.export(trained_vae, tmp_path, num_samples=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "message"),
    [("nowhere", "directory must be in a folder that can be written"), ("link", "directory must be a path on this")],
)
def test_a_directory_that_is_a_link_to_nowhere_is_refused(trained_vae, tmp_path, target, message):
    (tmp_path / "link").symlink_to(tmp_path / target)
    with pytest.raises((PermissionError, ValueError), match=message):
        serving.export(trained_vae, tmp_path / "link")


def test_an_export_that_is_interrupted_leaves_nothing(trained_vae, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(model_card, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        serving.export(trained_vae, tmp_path, num_samples=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("argument", "value"), [("num_samples", 0), ("num_samples", 1.5), ("keep", 0), ("keep", -1)])
def test_bad_arguments_are_refused_before_anything_is_written(trained_vae, tmp_path, argument, value):
    with pytest.raises(ValueError, match=f"{argument} must be an integer of at least 1, got {value}"):
        serving.export(trained_vae, tmp_path / "models", **{argument: value})
    assert not (tmp_path / "models").exists()


def test_a_reader_never_sees_half_a_version(trained_vae, tmp_path):
    """Someone who looks every millisecond, through three exports that keep one version."""
    broken, seen, done = [], set(), threading.Event()

    def look():
        while not done.is_set():
            for version in serving.versions(tmp_path):
                seen.add(version)
                path = tmp_path / str(version)
                if not whole(path) and path.exists():
                    broken.append(version)
            time.sleep(0.001)

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(3):
        serving.export(trained_vae, tmp_path, keep=1)
    done.set()
    reader.join()
    assert seen == {1, 2, 3} and not broken


EXPORT_FOREVER = """
import sys, numpy as np
from tfvae import data, recipes, serving
vae = recipes.build(recipes.Recipe(data="digits", hidden_sizes=(8,), latent_size=2).complete(data.load("digits")))
while True:
    serving.export(vae, sys.argv[1])
"""


@pytest.mark.kill
def test_fifty_kills_of_an_export_leave_no_partial_version(tmp_path):
    """Processes that export without end, one or two at once; killed -9 at a random moment, half soon after files."""
    rng, hidden = np.random.default_rng(0), 0
    for i in range(50):
        before = serving.versions(tmp_path)
        processes = [export_forever(tmp_path) for _ in range(1 + i % 3 // 2)]
        while not list(tmp_path.glob(".tfvae-staged-*")) and serving.versions(tmp_path) == before:
            assert all(process.poll() is None for process in processes)
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 3 if i % 2 else 0.3))
        for process in processes:
            assert process.poll() is None
            process.kill()
            assert process.wait() == -signal.SIGKILL
        staged = list(tmp_path.glob(".tfvae-staged-*"))
        hidden += bool(staged)
        assert all(whole(tmp_path / str(version)) for version in serving.versions(tmp_path))
        print(f"kill {i} of {len(processes)}: {len(serving.versions(tmp_path))} whole versions, {len(staged)} hidden")
        for path in staged:
            path.rename(tmp_path / f"seen-{i}-{path.name}")
    assert hidden > 10  # most of them hit an export at work
    assert serving.versions(tmp_path)[-1] >= 1
    last = tf.saved_model.load(str(tmp_path / str(serving.versions(tmp_path)[-1])))
    assert last.signatures["generate"](seed=tf.constant([1], tf.int64))["image"].shape == (1, 8, 8, 1)


@pytest.mark.kill
def test_exports_fill_a_disk_with_whole_versions_alone(small_disk):
    """Two processes at once, until each ends because the disk is full."""
    processes = [export_forever(small_disk, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in processes]
    assert all("OSError" in text.splitlines()[-1] and "No space left" in text for text in said)
    assert not list(small_disk.glob(".*"))
    assert len(serving.versions(small_disk)) > 10
    assert all(whole(small_disk / str(version)) for version in serving.versions(small_disk))


def export_forever(directory, stderr=subprocess.DEVNULL, **options):
    command = [sys.executable, "-c", EXPORT_FOREVER, str(directory)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, **options)


def test_the_warm_up_asks_every_signature_once(exported):
    """The file that TF Serving replays: its requests are ones that the model answers."""
    served = tf.saved_model.load(str(exported)).signatures
    asked = []
    for record in tf.data.TFRecordDataset(str(exported / "assets.extra" / serving.WARMUP)):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        asked.append(request.model_spec.signature_name)
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        answers = served[asked[-1]](**inputs)
        assert all(len(answer) == 1 for answer in answers.values())
    assert sorted(asked) == sorted(served)


def test_the_card_says_what_is_served(exported, evaluation, trained_vae, digits):
    card = json.loads((exported / model_card.CARD).read_text())
    assert card["signatures"]["elbo"]["inputs"] == {
        "image": {"dtype": "float32", "shape": ["batch", 8, 8, 1]},
        "seed": {"dtype": "int64", "shape": ["batch"]},
    }
    assert card["recipe"] == trained_vae.recipe.to_dict()
    assert card["evaluation"] == evaluation
    assert (card["licence"], card["num_samples"]) == ("CC0", NUM_SAMPLES)
    assert card["bytes"] == "divided by 255, then rounded to the nearest multiple of 1/16"
    page = (exported / model_card.PAGE).read_text()
    for text in ("`log_evidence`", "CC0", f"S = {NUM_SAMPLES}", "4 latents"):
        assert text in page
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_the_cards_numbers_are_those_of_the_measurement(exported, trained_vae, digits):
    served = json.loads((exported / model_card.CARD).read_text())["served"]
    measured = diagnostics.measure(trained_vae, digits.x_test, 500)
    noise = np.hypot(served["elbo_mc_standard_error"], np.sqrt(np.sum(measured.elbo_standard_error**2)) / 360)
    assert abs(served["elbo"] - measured.elbo.mean()) < 5 * noise
    assert served["elbo"] < served["log_evidence"] < measured.log_evidence.mean() + 5 * noise


def test_anomalies_are_what_lies_outside_of_the_validation_images_range(exported, trained_vae, digits, tmp_path):
    """Of 144 validation images the third lowest and the third highest score are the ends."""
    served = tf.saved_model.load(str(exported)).signatures

    def ask(name, x):
        x = x.astype(np.float32)
        return served[name](image=tf.constant(x), seed=tf.range(len(x), dtype=tf.int64))

    card = json.loads((exported / model_card.CARD).read_text())["served"]
    scores = np.sort(ask("log_evidence", digits.x_validation)["log_evidence"])
    assert card["usual_range"] == {
        **{"low": scores[2], "high": scores[-3]},
        **{"false_alarm_rate": 6 / 145, "num_held_out": 144},
    }
    answer = ask("anomaly", digits.x_test)
    np.testing.assert_array_equal(answer["log_evidence"], ask("log_evidence", digits.x_test)["log_evidence"])
    outside = (answer["log_evidence"] < scores[2]) | (answer["log_evidence"] > scores[-3])
    np.testing.assert_array_equal(answer["anomaly"], outside)
    assert card["anomalies"] == np.mean(outside)
    assert np.all(ask("anomaly", 1 - digits.x_test)["anomaly"])
    wide = serving.export(trained_vae, tmp_path, digits, num_samples=2, false_alarm_rate=0.01)  # needs 199 images
    assert "anomaly" not in tf.saved_model.load(str(wide)).signatures


def test_a_model_without_recipe_and_data_gets_a_card_that_says_so(trained_vae, tmp_path):
    vae = tfvae.VAE(trained_vae.encoder, trained_vae.decoder, trained_vae.prior)
    page = (serving.export(vae, tmp_path) / model_card.PAGE).read_text()
    assert "Not measured." in page and "data that no recipe names" in page and "not stated" in page


def shipped(name):
    path = SHIPPED / name / "1"
    card = json.loads((path / model_card.CARD).read_text())
    return tf.saved_model.load(str(path)).signatures, card


@pytest.mark.parametrize("name", ["digits", "mnist10k"])
def test_a_shipped_model_gives_its_cards_numbers(name):
    """With the card's seeds to 0.01 nats; with others within five standard errors."""
    signatures, card = shipped(name)
    recipe = recipes.Recipe.from_dict(card["recipe"])
    x = recipe.load_data().x_test
    served, evaluation = card["served"], card["evaluation"]
    assert served["num_images"] == len(x) == evaluation["how"]["num_images"]
    error = served["elbo_mc_standard_error"]
    for name, first, margin in (
        ("elbo", 0, 0.01),
        ("elbo", len(x), 5 * np.sqrt(2) * error),
        ("log_evidence", 0, 0.01),
    ):
        answer = signatures[name](image=tf.constant(x), seed=tf.range(first, first + len(x), dtype=tf.int64))[name]
        assert abs(np.mean(answer) - served[name]) < margin
    assert abs(served["elbo"] - evaluation["elbo"]) < 5 * np.hypot(error, evaluation["elbo_mc_standard_error"])


def test_the_shipped_model_is_the_main_jobs():
    _, card = shipped("mnist10k")
    recipe = recipes.Recipe()
    assert recipes.Recipe.from_dict(card["recipe"]) == recipe.complete(recipe.load_data())
    assert card["licence"] == "Apache-2.0"
