"""The package's dependencies point one way."""

import ast
import pathlib
import subprocess
import sys

import pytest

import tfvae

PACKAGE = pathlib.Path(tfvae.__file__).parent
LEAVES = {
    "audit_fit",
    "audit_words",
    "averaging",
    "checks",
    "decoders",
    "downloads",
    "epochs",
    "files",
    "linear",
    "loop",
    "optimizers",
    "pixels",
    "plots",
    "points",
    "pushforward",
    "quiet",
    "seeds",
    "sprites",
    "transports",
    "unmerged",
}
ALLOWED = {
    "flows": {"checks"},
    "networks": {"checks"},
    "posteriors": {"checks", "flows", "pushforward"},
    "muon": {"checks", "optimizers"},
    "vamp": {"unmerged"},
    "priors": {"checks", "flows", "pushforward", "vamp"},
    "hierarchical": {"flows", "posteriors", "pushforward"},
    "residuals": {"checks", "decoders"},
    "likelihoods": {"checks", "decoders", "pixels", "residuals"},
    "latents": {"hierarchical", "networks", "posteriors", "priors"},
    "shares": {"epochs"},
    "strategies": {"checks", "shares"},
    "sources": {"checks"},
    "streams": {"checks", "epochs", "files", "seeds", "shares", "sources"},
    "data": {"checks", "downloads", "epochs", "factors", "shares", "sprites", "streams"},
    "factors": {"checks", "epochs"},
    "terms": {"checks", "seeds"},
    "total_correlation": {"checks", "terms"},
    "covariance": {"checks", "terms"},
    "factor": {"checks", "optimizers", "replicas", "seeds", "terms"},
    "estimators": {"checks", "seeds", "terms"},
    "objectives": {"checks", "covariance", "estimators", "factor", "terms", "total_correlation"},
    "replicas": {"seeds"},
    "vae": {"checks", "loop", "objectives", "optimizers", "replicas", "seeds", "shares", "unmerged"},
    "conditional": {"checks", "seeds", "unmerged", "vae"},
    "information": {"checks", "points"},
    "predictors": {"checks", "points"},
    "interventions": {"checks", "points"},
    "disentanglement": {"checks", "information", "interventions", "points", "predictors"},
    "audit_terms": {"audit_words"},
    "audit": {"audit_fit", "audit_terms", "audit_words", "checks", "seeds"},
    "annealing": {"checks", "seeds", "terms"},
    "inference_gap": {"checks", "seeds", "terms"},
    "diagnostics": {"annealing", "audit", "checks", "disentanglement", "inference_gap", "seeds", "terms"},
    "signatures": {"checks", "objectives", "seeds"},
    "model_card": {"diagnostics", "files", "signatures"},
    "serving": {"checks", "client", "diagnostics", "files", "model_card", "objectives", "signatures", "transports"},
    "client": {"transports"},
    "serve_check": {"transports"},
    "tensorboard": {"plots"},
    "fields": {"data", "latents", "likelihoods", "muon"},
    "recipes": {"conditional", "data", "fields", "latents", "networks", "objectives", "vae"},
    "runs": {"averaging", "diagnostics", "files", "plots", "recipes", "strategies"},
    "notebooks": {"files", "plots", "quiet"},
    "cli": {
        "diagnostics",
        "files",
        "notebooks",
        "quiet",
        "recipes",
        "runs",
        "serve_check",
        "serving",
        "strategies",
        "tensorboard",
        "client",
    },
    "__main__": {"cli"},
    "__init__": set(),
}


def imported(path):
    """The package's modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tfvae":
            if node.module == "tfvae":
                found |= {alias.name for alias in node.names} - {"__version__"}
            else:
                found.add(node.module.split(".")[1])
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("tfvae.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_imports_point_one_way(path):
    allowed = set() if path.stem in LEAVES else ALLOWED[path.stem]
    assert imported(path) <= allowed


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_only_tf_keras_and_no_hidden_losses(path):
    text = path.read_text()
    for forbidden in ("tf.keras", "import keras", "add_loss(", "activity_regularizer", "KLDivergenceAddLoss"):
        assert forbidden not in text


def test_importing_the_package_is_quick_and_silent():
    code = "import sys, tfvae; assert 'tensorflow' not in sys.modules; print(tfvae.__version__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (tfvae.__version__, "")


def test_every_public_name_resolves():
    for name in tfvae.__all__:
        assert getattr(tfvae, name).__doc__
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        tfvae.nothing  # noqa: B018 (asking for it is the test)
