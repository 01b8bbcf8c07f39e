"""Write docs/results from the runs of this machine: ``python docs/collect.py RUNS``, after ``make configs``.

For each config the newest run in RUNS: its time, its claims with verdicts, its tables and figures.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from jaxcalc.lab import load
from jaxcalc.lab.registry import load as load_experiment
from jaxcalc.lab.text import number, seconds

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parent / "configs"


def newest(runs: Path, stem: str) -> Path | None:
    """The newest finished run of a config."""
    found = [p for p in runs.glob(f"{stem}-????????????") if (p / "report.html").exists()]
    return max(found, key=lambda p: (p / "report.html").stat().st_mtime, default=None)


def rows(header: list[str], lines: list[list[Any]]) -> str:
    """A Markdown table."""
    cells = [[number(c).replace("|", "\\|") for c in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in [header, ["---"] * len(header), *cells])


def section(config: Path, run: Path, out: Path) -> tuple[str, dict[str, Any]]:
    """One config's results as Markdown, and its provenance; its figures go to ``out``."""
    dataset, plan = load(run), json.loads((run / "plan.json").read_text())
    told = [json.loads((run / "trials" / t["hash"] / "provenance.json").read_text()) for t in plan["trials"]]
    time = sum(t["compile_seconds"] + t["run_seconds"] for t in told)
    name = str(config.relative_to(CONFIGS).with_suffix(""))
    size = f"{plan['points']} points, {plan['programs']} programs"
    facts = f"{size}, {seconds(time)} of compiling and running, {dataset.attrs['dtype']}"
    parts = [f"## {name}", dataset.attrs["question"], f"`jaxcalc run configs/{name}.yaml`: {facts}."]
    claims = json.loads((run / "claims.json").read_text())
    if claims:
        lines = [
            [f"`{c['id']}`", c["expected"], c["measured"], c["verdict"] + ("" if c["passed"] else " (!)")]
            for c in claims
        ]
        parts.append(rows(["claim", "expected", "measured", "verdict"], lines))
    tables = load_experiment(dataset.attrs["experiment"], CONFIGS).part.tables
    for title, table in (tables(dataset) if tables else {}).items():
        parts += [f"**{title}**", rows(list(table[0]), [list(row.values()) for row in table])] if table else []
    for figure in sorted((run / "figures").glob("*.svg")):
        target = out / f"{run.name.rsplit('-', 1)[0]}-{figure.name}"
        shutil.copyfile(figure, target)
        parts.append(f"![{figure.stem.replace('_', ' ')}]({target.name})")
    return "\n\n".join(parts), told[0]


def main(runs: Path) -> None:
    """Collect every config that has a run."""
    out = HERE / "results"
    out.mkdir(exist_ok=True)
    for old in out.glob("*.svg"):
        old.unlink()
    found = []
    for config in sorted(CONFIGS.rglob("*.yaml")):
        run = newest(runs, config.stem)
        if run is not None:
            found.append(section(config, run, out))
    machine = found[0][1]
    package = machine["versions"]
    head = f"""# Results

Measured on {machine["processor"]}, {machine["cores"]} cores, platform {machine["device"]["platform"]};
jax {package["jax"]}, jaxlib {package["jaxlib"]}, Python {package["python"]}. Times are this machine's and noisy; ratios
and counts carry over. Claims judge counts and values, never times. To do it again: `make configs`, then
`.venv/bin/python docs/collect.py runs`."""
    (out / "README.md").write_text("\n\n".join([head, *(text for text, _ in found)]) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
