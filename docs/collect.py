"""Write the pages of results from the runs of this machine: ``python docs/collect.py RUNS``, after ``make configs``.

For each config, and each question that no config asks, the newest run in RUNS: its time, its claims with verdicts, its
tables and figures with captions. What has no run keeps what a page says of it. ``results`` gets every figure and is not
kept in git; ``docs/results`` the few that its pages show.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from jaxcalc import style
from jaxcalc.lab import load
from jaxcalc.lab.config import load as load_config
from jaxcalc.lab.config import runs as runs_of
from jaxcalc.lab.config import stem
from jaxcalc.lab.format import number, seconds
from jaxcalc.lab.plot import charts, save_figure
from jaxcalc.lab.registry import load as load_experiment
from jaxcalc.lab.summary import runnable

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parent / "configs"

# The figures that docs/results shows; every other one is made again by `make results`.
SHOWN = {
    "basins-roots-roots.svg",
    "criticality-predictions-factor_by_architecture.svg",
    "finite_differences-steps-steps.svg",
    "gradient_descent-regimes.svg",
    "monte_carlo-convergence-convergence.svg",
    "neural_ode-pelts-forecast.svg",
    "newton-order.svg",
    "order_chaos-factor_and_scales.svg",
    "vanishing_gradients-gradient_by_layer.svg",
}


def newest(runs: Path, config: str) -> Path | None:
    """The newest finished run of a config or question."""
    found = [p for p in runs.glob(f"{load_config(config).stem}-????????????") if (p / "report.html").exists()]
    return max(found, key=lambda p: (p / "report.html").stat().st_mtime, default=None)


def rows(header: list[str], lines: list[list[Any]]) -> str:
    """A Markdown table."""
    cells = [[number(c).replace("|", "\\|") for c in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *cells])


def section(config: str, run: Path, out: Path, only: set[str] | None) -> tuple[str, dict[str, Any]]:
    """One run's results as Markdown, and its provenance; its figures, or ``only`` some of them, go to ``out``."""
    dataset, plan = load(run), json.loads((run / "plan.json").read_text())
    told = [json.loads((run / "trials" / t["hash"] / "provenance.json").read_text()) for t in plan["trials"]]
    time = sum(t["compile_seconds"] + t["run_seconds"] for t in told)
    size = f"{plan['points']} points, {plan['programs']} programs"
    facts = f"{size}, {seconds(time)} of compiling and running, {dataset.attrs['dtype']}"
    part = load_experiment(dataset.attrs["experiment"], CONFIGS).part
    question = dataset.attrs["question"] or part.doc.strip().partition("\n")[0]
    parts = [f"## {stem(config)}", question, f"`jaxcalc run {config}`: {facts}."]
    claims = json.loads((run / "claims.json").read_text())
    if claims:
        lines = [
            [f"`{c['id']}`", c["expected"], c["measured"], c["verdict"] + ("" if c["passed"] else " (!)")]
            for c in claims
        ]
        parts.append(rows(["claim", "expected", "measured", "verdict"], lines))
    for title, table in (part.tables(dataset) if part.tables else {}).items():
        parts += [f"**{title}**", rows(list(table[0]), [list(row.values()) for row in table])] if table else []
    with style.context():
        figures = (part.figures or charts)(dataset)
        for name, figure in sorted(figures.items()):
            target = out / f"{run.name.rsplit('-', 1)[0]}-{name}.svg"
            if only is None or target.name in only:
                save_figure(figure, target)
                parts += [f"![{name.replace('_', ' ')}]({target.name})", f"*{figure.get_label()}*"]
    return "\n\n".join(parts), told[0]


HEADS = {
    "README.md": "Claims judge counts and values, never times. To do it again: `make configs`, then "
    "`.venv/bin/python docs/collect.py runs`. Benchmarks, which judge times too, have [their own page](bench.md).",
    "bench.md": "Here claims judge times as well, each as a ratio within one process and the same rounds. Peers come "
    "with `pip install 'jaxcalc[peers]'`. To do it again: `jaxcalc run` each config, then `docs/collect.py runs`.",
}


def kept(page: Path) -> dict[str, str]:
    """The sections that a page has, by name."""
    parts = page.read_text().split("\n## ")[1:] if page.exists() else []
    return {part.split("\n")[0]: "## " + part.strip() for part in parts}


def configs_of(page: str) -> list[str]:
    """What a page tells of: the benches, or all other configs and the questions that none asks."""
    if page == "bench.md":
        files = sorted(str(path.relative_to(HERE.parent)) for path in (CONFIGS / "bench").glob("*.yaml"))
        return [config for file in files for config in runs_of(file)]
    return [config for name in runnable() for config in runs_of(name)]


def collect(runs: Path, out: Path, only: set[str] | None) -> None:
    """Collect everything that has a run; a page of which nothing has one stays as it is."""
    out.mkdir(exist_ok=True)
    for page, about in HEADS.items():
        sections, machine = kept(out / page), None
        known = configs_of(page)
        for config in known:
            if (run := newest(runs, config)) is not None:
                sections[stem(config)], machine = section(config, run, out, only)
        if machine is None:
            continue
        texts = [sections[stem(config)] for config in known if stem(config) in sections]
        (out / page).write_text("\n\n".join([head(machine, about), *texts]) + "\n")

    told = "".join((out / page).read_text() for page in HEADS if (out / page).exists())
    for figure in out.glob("*.svg"):
        if figure.name not in told:
            figure.unlink()


def head(machine: dict[str, Any], about: str) -> str:
    """A page's first lines: where and with what it was measured."""
    package = machine["versions"]
    return f"""# Results

Measured on {machine["processor"]}, {machine["cores"]} cores, platform {machine["device"]["platform"]};
jax {package["jax"]}, jaxlib {package["jaxlib"]}, Python {package["python"]}. Times are this machine's and noisy; ratios
and counts carry over.

{about}"""


if __name__ == "__main__":
    finished = Path(sys.argv[1]).resolve()
    os.chdir(HERE.parent)  # configs and questions are found from there
    collect(finished, HERE.parent / "results", None)
    collect(finished, HERE / "results", SHOWN)
