"""The tables of README.md, each made of a file in results/."""

import json
import statistics

from reports import RESULTS

# Nats per image by the bound's own gradient: Burda et al. (2015), table 1; github.com/nbip/IWAE, 100 latents in its
# models of one layer. Or what is exact.
PUBLISHED = {
    "vae-1": "86.76; 86.35 with 100 latents",
    "vae-1-adam": "86.76; 86.35 with 100 latents",
    "iwae-5": "85.54; 85.18",
    "iwae-5-plain": "85.54; 85.18",
    "iwae-50": "84.78; 84.59",
    "iwae-50-plain": "84.78; 84.59",
    "2l-vae-1": "85.33; 84.83",
    "2l-iwae-5": "83.89; 83.48",
    "2l-iwae-50": "82.90; 82.82",
    "iaf": "",
    "vamp": "",
    "iaf-vamp": "",
    "linear": "-517.60, probabilistic PCA, exactly",
}
# By the doubly reparameterized gradient, which these rows climb: github.com/nbip/IWAE, 100 latents.
DOUBLY_REPARAMETERIZED = {"iwae-5": "84.90", "iwae-50": "84.32", "2l-iwae-5": "", "2l-iwae-50": ""}


def table(head, rows):
    """Markdown; the first column is text."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def origin(name, report):
    """How to have numbers again, and where these come from, in a line."""
    versions = ", ".join(f"{package} {version}" for package, version in report["versions"].items())
    cores = report["cores"]
    where = f"{report['processor']}, {cores} core{'s' if cores > 1 else ''}"
    return f"`python benchmarks/reproduce.py {name}`, {report['date']}, {where}; {versions}."


def throughput(report):
    """Images a second, a column for each cell; in brackets, the best of this package in that precision over it."""
    cells = report["cells"].values()
    names = list(dict.fromkeys(name for cell in cells for name in cell["contenders"]))
    rows = [[name, *(rate(cell, name) for cell in cells)] for name in names]
    peaks = {
        dtype: statistics.median(cell["matrix_product_flops"][dtype] for cell in cells)
        for dtype in ("float32", "bfloat16")
    }
    share = [f"{max(of_peak(cell, 'float32')):.0%}" for cell in cells]
    text = [
        f"Images a second in training, {report['binarization']} binarization; in brackets, this package's best in the "
        "same precision over it. Last row: the operations of the step's products a second, best of this package in "
        f"float32, over those of a large matrix product here ({peaks['float32'] / 1e9:.0f} GFLOP/s in float32, "
        f"{peaks['bfloat16'] / 1e9:.0f} in bfloat16).",
        table(["", *(f"{cell['model']}, {cell['batch_size']}" for cell in cells)], [*rows, ["share of peak", *share]]),
    ]
    return "\n\n".join(text)


def rate(cell, name):
    row = cell["contenders"].get(name)
    if row is None:
        return "failed"
    own = [r["images_per_s"] for n, r in cell["contenders"].items() if of_ours(n, name.endswith("bfloat16"))]
    return f"{row['images_per_s']:,.0f} ({max(own) / row['images_per_s']:.2f})"


def of_ours(name, bfloat16):
    return name.startswith("tfvae") and name.endswith("bfloat16") == bfloat16


def of_peak(cell, precision):
    rows = cell["contenders"].items()
    return [row["of_peak"] for name, row in rows if of_ours(name, precision == "bfloat16")]


def precision(report):
    rows = [
        [policy, f"{row['elbo_mean']:.2f}", f"{row['elbo_deviation_over_seeds']:.2f}", f"{row['images_per_s']:,.0f}"]
        for policy, row in report["summary"].items()
    ]
    seeds = len({row["seed"] for row in report["rows"]})
    text = f"Validation ELBO after {report['epochs']} epochs of MNIST, nats an image, over {seeds} seeds."
    return f"{text}\n\n{table(['', 'ELBO', 'deviation over seeds', 'images/s'], rows)}"


def evidence(report):
    seconds = report["seconds_an_image"]
    names = {"log_evidence": "log p(x)", "matrix_products": "its matrix products at peak", "softplus": "one softplus"}
    rows = [[text, f"{1000 * seconds[name]:.1f}"] for name, text in names.items()]
    minutes = 10_000 * seconds["log_evidence"] / 60
    text = f"log p(x) with 5,000 samples an image: 10,000 images take {minutes:.1f} minutes, of which "
    text += f"{seconds['of_floor']:.0%} is the floor. Milliseconds an image:"
    return f"{text}\n\n{table(['', 'ms'], rows)}"


def growth(report):
    rows = [
        [name, ", ".join(f"{size}: {seconds:.2f}" for size, seconds in points)]
        for name, points in report["points"].items()
    ]
    base = ", ".join(f"{name} {size}" for name, size in report["base"].items())
    text = f"Seconds of an epoch as one size grows from {base}."
    return f"{text}\n\n{table(['', 'size: seconds'], rows)}\n\n![growth](results/growth.png)"


def scaling(report):
    ways = {"memory": "one process", "pipeline": "one, reading as workers must", "workers": "two, sharing each batch"}
    rows = [[text, f"{1000 * report['measured'][name]['seconds']:.2f}"] for name, text in ways.items()]
    efficiency = report["weak_scaling_efficiency_of_two"]
    text = f"Milliseconds a step of {report['batch_size']} images a process, a core each, {report['parameters']:,} "
    text += f"parameters. Weak scaling efficiency of two: {efficiency['memory']:.0%}, of the same pipeline "
    text += f"{efficiency['pipeline']:.0%}. Below, what the formula in `scaling.py` expects of a ring."
    expected = [[name, *(f"{v:.1%}" for v in row.values())] for name, row in report["predicted_efficiency"].items()]
    counts = [f"{n} devices" for n in next(iter(report["predicted_efficiency"].values()))]
    return f"{text}\n\n{table(['', 'ms'], rows)}\n\n{table(['', *counts], expected)}"


def streaming_memory(report):
    rows = [
        [row["data_mb"], f"{row['images']:,}", f"{row['peak_mb']:.0f}", f"{row['images_per_s']:,.0f}"]
        for row in report["rows"]
    ]
    text = "Reading TFRecords of 64 x 64 x 3 bytes; peak memory above what the imports hold."
    return f"{text}\n\n{table(['data, MB', 'images', 'peak, MB', 'images/s'], rows)}"


def waiting(report):
    rows = []
    for name, runs in report["seconds"].items():
        for moment, first in runs[0].items():
            again = f"{runs[1][moment]:.1f}" if runs[1:] else ""
            rows.append([name if moment == "end" else f"{name}: {moment}", f"{first:.1f}", again])
    text = "Seconds from a command to its end, or to a moment before it: the first time, and again. `tfvae train` is "
    text += "the main job."
    return f"{text}\n\n{table(['', 'seconds', 'again'], rows)}"


def step(report):
    cases = report["milliseconds"]
    rows = [[name, *(f"{times[name]:.2f}" for times in cases.values())] for name in next(iter(cases.values()))]
    text = "Milliseconds of a step and of its parts by themselves, medians, all in one process."
    return f"{text}\n\n{table(['', *cases], rows)}"


def sprites(report):
    drawn = [[row["what"], f"{row['images_per_s']:,.0f}"] for row in report["drawn"]]
    trained = [[row["what"], f"{row['made']:,.0f}", f"{row['stored']:,.0f}"] for row in report["trained"]]
    text = "Images a second as they are drawn, then in trainings on images that the step draws and on stored ones. "
    text += f"The 300,000 steps of `recipes/sprites_full.json` would take {report['full_hours']:.0f} hours here."
    return f"{text}\n\n{table(['', 'drawn'], drawn)}\n\n{table(['', 'drawn in the step', 'stored'], trained)}"


def disentanglement(report):
    columns = ("elbo", "rate", "distortion", "active_units")
    scores = ("mig", "sap", "dci_disentanglement", "modularity", "beta_vae_score", "factor_vae_score")
    rows = []
    for setting in report["settings"]:
        runs = [run for run in report["runs"] if run["setting"] == setting]
        cells = [spread([run[name] for run in runs], digits=1) for name in columns]
        scores_of = [spread([run["scores"][name][0] for run in runs], digits=2) for name in scores]
        rows.append([setting, len(runs), *cells, *scores_of])
    text = "32 x 32 sprites of 3 shapes, 3 scales, 5 orientations and 16 x 16 positions, MLP 1024-256-128, 6 latents, "
    text += "40 epochs; means over training seeds +- their standard deviation. `TC 6` is beta-TCVAE with beta 6."
    return f"{text}\n\n{table(['', 'seeds', *(name.replace('_', ' ') for name in (*columns, *scores))], rows)}"


def spread(values, digits):
    """Mean +- standard deviation."""
    return f"{statistics.mean(values):.{digits}f} +- {statistics.stdev(values):.{digits}f}"


def seeds(report):
    rows = [
        [name, *(f"{mean:+.1f} +- {deviation:.1f}" for mean, deviation in of_one.values())]
        for name, of_one in report["gains"].items()
        if name != "plain"
    ]
    count = len({row["seed"] for row in report["rows"]})
    text = "Gain over the plain model of the same seed on the digits' 360 test images, nats an image: mean and "
    text += f"deviation over {count} seeds. log p(x) is that bound, corrected by a proposal fitted to every sixth "
    text += "image. The models are those of notebooks 08 to 10."
    if report["plain"].get("schedule") == "constant":
        text += " The learning rate does not fall: as many steps train further."
    return f"{text}\n\n{table(['', 'ELBO', 'bound, 260', 'log p(x)'], rows)}"


def settings(report):
    digits = {"nll": 2, "elbo": 2, "active_units": 0, "processor_minutes": 1}
    rows = [
        [row["setting"], *(f"{row[name]:.{n}f}" for name, n in digits.items()), row["processor"]]
        for row in report["rows"]
    ]
    text = "784-200-200-50, k = 1, 20 epochs of 55,000 MNIST images binarized anew at each draw, Adam whose rate falls "
    text += "to 1 % along a cosine; each row changes in the first what it names. NLL by 300 samples and ELBO of 1,000 "
    text += "images held out of the training set, in nats per image."
    return f"{text}\n\n{table(['', *(name.replace('_', ' ') for name in digits), 'processor'], rows)}"


def papers(reports):
    rows = []
    for found in reports.values():
        row = found["row"]
        own, doubly = PUBLISHED[row], DOUBLY_REPARAMETERIZED.get(row)
        published = [own, ""] if doubly is None else [f"({own})", doubly or "none known"]
        nll = f"{found['nll']:.2f} +- {found['data_standard_error']:.2f}"
        numbers = (found[name] for name in ("elbo", "active_units", "epochs", "processor_minutes", "seed"))
        machine = found["machine"].get("accelerator") or found["machine"]["processor"]
        rows.append([f"`{row}`", *published, nll, *(f"{number:.5g}" for number in numbers), machine])
    head = ["", "published, the bound's own gradient; or exact", "published, doubly reparameterized"]
    head += ["NLL, at most, +- over images", "ELBO", "active", "epochs", "processor minutes", "seed", "processor"]
    text = "Nats per image: MNIST binarized anew at each draw, all 60,000 training images; the 10,000 test images, "
    text += (
        "binarized once; minus the importance-weighted bound of k = 5,000 samples, which is the NLL or more: on the "
    )
    text += (
        "first 50 images by 0.3 to 0.5 (the table of the gap). Over seeds rows differ by up to 0.14. Compare in the "
    )
    text += "column of the gradient that the row climbs; in parentheses, the other one. Published: Burda et al. 2015, "
    text += (
        "table 1, and after the semicolon github.com/nbip/IWAE, whose models of one layer have 100 latents; Burda et "
    )
    text += "al. held 400 training images out and counted active units on 500 training images, here on the test set. "
    text += "Minutes of one processor, in training. `linear`: grey images, a density, not to be compared with masses."
    return f"{text}\n\n{table(head, rows)}"


def gaps(report):
    columns = ("elbo", "importance", "best_importance", "annealed", "fitted", "missed", "most_missed")
    columns += ("approximation", "amortization")
    rows = []
    for row in report["rows"]:
        cells = {name: f"{row[name]:.2f}" for name in columns}
        for name in ("annealed", "fitted"):
            cells[name] += f" +- {row[f'{name}_mc_standard_error']:.2f}"
        cells["missed"] += f" +- {row['missed_standard_error']:.2f}"
        rows.append([f"`{row['row']}`", *cells.values()])
    samples, best_samples, fitted_samples, chains, temperatures = report["sizes"].values()
    text = f"Nats per image, {report['num_images']} test images: log p(x) by {samples:,} importance samples of q(z|x), "
    text += f"by {best_samples:,} of each image's best normal, by {chains} chains annealed over {temperatures} "
    text += f"temperatures, and by {fitted_samples:,} draws of a mixture at the modes of p(z|x), +- over noise; what "
    text += "the first misses of the last, +- over images, and of one image at most; the gap between ELBO and the last "
    text += "log p(x) in its parts."
    head = ["", "ELBO", "log p(x), by q(z|x)", "by the best normal", "annealed", "mixture", "missed", "at most"]
    return f"{text}\n\n{table([*head, 'approximation', 'amortization'], rows)}"


def independent(report):
    rows = []
    for row in report["rows"]:
        cells = [f"`{row['row']}`"]
        for one in (row["elbo"], row["bound"], row["log_evidence"]):
            cells += [f"{one['value']:.3f} +- {one['standard_error']:.3f}"]
            cells += [f"{one['tfvae_value']:.3f}", f"{one['z']:+.1f}"] if "z" in one else ["", ""]
        rows.append([*cells, f"{row['effective_draws']['median']:,.0f}", f"{row['effective_draws']['least']:.0f}"])
    text = "Means over the first 50 test images, nats per image, +- over the noise of the draws, by `independent.py`, "
    text += "which uses NumPy and SciPy alone; beside each, what tfvae says (the stored ELBO and bound; log p(x) by "
    text += "`laplace_log_evidence`), and by how many standard errors of the difference the first is higher. Draws an "
    text += "image: {bound:,} for ELBO and bound, {log_evidence:,} for log p(x), {tfvae_log_evidence:,} for tfvae's. "
    text += "The last columns are effective draws of an image's log p(x): its error is too small where they are few."
    head = [""]
    for name in ("ELBO", "bound, k = 5,000", "log p(x)"):
        head += [name, "tfvae", "errors"]
    return f"{text.format(**report['draws'])}\n\n{table([*head, 'effective draws, median', 'least'], rows)}"


def calibration(report):
    rows = []
    for name, row in report["rows"].items():
        cells = [f"{row['reference']:.3f}"]
        for kind in ("fitted", "bound"):
            found = row[kind]
            cells += [f"{found['log_evidence']:.3f} +- {found['standard_error']:.3f}", f"{found['within_two']:.0%}"]
        rows.append([f"`{name}`", row["images"], *cells, f"{row['fitted']['reliable']:.0%}"])
    text = (
        "Mean log p(x) in nats an image: the reference (`linear`: exact; `curved`: by quadrature; else ten times the "
    )
    text += (
        "draws from four times the starts), `laplace_log_evidence` with its 2,000 draws, and the bound by 5,000 draws "
    )
    text += (
        "of q(z|x); beside each the share of images that lie within two of their stated errors, which is 95 % where "
    )
    text += "errors are true. Last, the share of images whose fitted weights have a Pareto k below 0.7."
    head = ["", "images", "reference", "fitted", "within two errors", "bound", "within two errors", "k < 0.7"]
    return f"{text}\n\n{table(head, rows)}"


def spot_checks(report):
    rows = [
        [
            row["what"],
            row["by"],
            f"{row['values']:,}",
            row["dtype"],
            f"{row['relative']:.1e}",
            f"{row['difference']:.1e}",
        ]
        for row in report["rows"]
    ]
    scores = [
        [row["what"], f"{row['tfvae']:.4f}", f"{row['formula']:.4f}", f"{row['tfvae'] - row['formula']:+.1e}"]
        for row in report["scores"]
    ]
    text = "Largest difference from the other code, which computes in float64, over max(1, |value|) and as it is. "
    text += "Likelihoods: log p(x|z) of an element, logits up to 100 (20 of the continuous Bernoulli), loc and x up to "
    text += (
        "100, scales from 0.01, where TFP's normal rounds x / scale and loc / scale before it subtracts them. Flows: "
    )
    text += "three steps of random weights. Optimizers: five steps of rate 1; torch's Muon orthogonalizes in bfloat16, "
    text += (
        "and what that alone changes is in the row below. Adam has epsilon where Keras has it, before the correction "
    )
    text += "of the bias."
    below = (
        "Scores of 2,000 points with five latents and four factors, beside the formulas of disentanglement_lib. Where "
    )
    below += "two predictors are named, the second is that library's."
    left_out = "".join(f"\n\nLeft out: {what}." for what in report["left_out"])
    head = ["", "other code", "values", "", "relative", "difference"]
    parts = [text, table(head, rows), below + left_out, table(["", "tfvae", "formula", "difference"], scores)]
    return "\n\n".join(parts)


def bad_calls(report):
    """How calls with bad input end, a row for each part of the package."""
    parts = report["parts"]
    outcomes = list(next(iter(parts.values())))
    rows = [[name, sum(row.values()), *row.values()] for name, row in parts.items()]
    total = ["**all**", *(sum(row[i] for row in rows) for i in range(1, len(outcomes) + 2))]
    text = (
        "Calls of functions and methods with one bad argument, command lines with one bad word, damaged files, and "
        "false answers of a server. Refused by name: the message holds the name of the argument, the option or the "
        "file. Accepted: the bad value is a good one there, such as 0.5 for a rate, or an argument that is not used."
    )
    return f"{text}\n\n{table(['', 'calls', *outcomes], [*rows, total])}"


SECTIONS = {
    "throughput": ("Training", throughput),
    "throughput_static": ("Training, binarized once", throughput),
    "precision": ("Mixed precision", precision),
    "evidence": ("log p(x)", evidence),
    "growth": ("Growth", growth),
    "scaling": ("Several machines", scaling),
    "streaming_memory": ("Data larger than memory", streaming_memory),
    "waiting": ("Waiting", waiting),
    "step": ("A step, taken apart", step),
    "sprites": ("Sprites", sprites),
    "disentanglement": ("Beta and disentanglement", disentanglement),
    "settings": ("What the settings of a training give", settings),
    "papers": ("The papers' numbers", papers),
    "seeds": ("What richer pieces give, over seeds", seeds),
    "seeds_constant": ("The same, trained further", seeds),
    "calibration": ("Is log p(x) within its errors?", calibration),
    "gaps": ("Where the gap to log p(x) comes from", gaps),
    "independent": ("The same rows by other code", independent),
    "spot_checks": ("Distributions, optimizers and scores beside other code", spot_checks),
    "bad_calls": ("What bad input does", bad_calls),
}


def stored(name):
    """The report behind a section, and what `origin` says of it; None where there is none."""
    if name != "papers":
        path = RESULTS / f"{name}.json"
        report = json.loads(path.read_text()) if path.exists() else None
        return report, report
    rows = paper_rows()
    newest = max(rows.values(), key=lambda report: report["date"])
    return rows, {"date": newest["date"], **newest["machine"]}


def paper_rows():
    """{name: result} of the papers' rows in the table's order, all seeds: `ROW`, `ROW-seed1`, ..."""
    paths = [
        path for row in PUBLISHED for name in (row, f"{row}-seed*") for path in sorted(RESULTS.glob(f"{name}.json"))
    ]
    return {path.stem: json.loads(path.read_text()) for path in paths}


def numbers():
    """The part of README.md that is made of results/."""
    parts = []
    for name, (title, section) in SECTIONS.items():
        report, head = stored(name)
        if report is not None:
            parts.append(f"## {title}\n\n{section(report)}\n\n{origin(name, head)}")
    return "\n\n".join(parts)
