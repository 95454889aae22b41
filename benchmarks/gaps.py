"""log p(x) of the table's rows by four estimators, and the gap to the ELBO in its two parts.

    python benchmarks/gaps.py           five minutes on one core; writes results/gaps.json

For four rows whose q(z|x) is a diagonal normal, on the test images that papers.py stores. All four are lower bounds in
expectation, so that the highest is the nearest: importance sampling from q(z|x), from the best normal q of each image,
and from a mixture at its modes (`laplace_log_evidence`), and chains annealed from q(z|x). The gap's parts are about the
mixture's value.
"""

import click
import numpy as np
import papers
import reports
import tensorflow as tf

from tfvae import diagnostics

ROWS = ("vae-1", "iwae-5", "iwae-50", "vamp")
SIZES = {
    "num_samples": papers.NUM_SAMPLES,
    "num_best_samples": 2000,
    "num_fitted_samples": 10_000,
    "num_chains": 16,
    "num_temperatures": 300,
}


def row(name):
    """Means over the images, in nats an image; of the last two estimates and of what is missed, standard errors too."""
    vae, _ = papers.stored(name)
    x = papers.first_test_images(name)
    num_samples, num_best_samples, num_fitted_samples, num_chains, num_temperatures = SIZES.values()
    measured = diagnostics.measure(vae, x, num_samples)
    annealed = diagnostics.annealed_log_evidence(vae, x, num_chains, num_temperatures, from_posterior=True)
    best = diagnostics.inference_gap(vae, x, num_best_samples)
    fitted = diagnostics.laplace_log_evidence(vae, x, num_fitted_samples)
    missed = fitted.value - measured.log_evidence
    values = {
        "elbo": measured.elbo,
        "importance": measured.log_evidence,
        "best_importance": best.log_evidence,
        "annealed": annealed.value,
        "fitted": fitted.value,
        "approximation": fitted.value - best.best_elbo,
        "amortization": best.amortization,
        "missed": missed,
    }
    return {
        "row": name,
        **{column: float(np.mean(value)) for column, value in values.items()},
        "annealed_mc_standard_error": papers.error_of_mean(annealed.standard_error),
        "fitted_mc_standard_error": papers.error_of_mean(fitted.standard_error),
        "missed_standard_error": float(missed.std(ddof=1) / np.sqrt(len(x))),  # over the images
        "most_missed": float(missed.max()),
    }


def show(result):
    numbers = "".join(f"  {name} {value:.2f}" for name, value in result.items() if name != "row")
    click.echo(f"{result['row']:<8}{numbers}")


@click.command()
@reports.output_option("gaps")
def main(output):
    """Measure every row and store it; see the file's head."""
    report = reports.head() | {"sizes": SIZES, "num_images": papers.NUM_FIRST, "rows": []}
    for name in ROWS:
        report["rows"].append(row(name))
        show(report["rows"][-1])
    reports.write(output, report)


if __name__ == "__main__":
    tf.get_logger().setLevel("ERROR")
    main()
