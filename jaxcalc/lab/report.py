"""From a saved dataset to figures, verdicts, tables and one HTML page that needs no network."""

import base64
import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcalc.lab import registry, source
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.experiment import Part
from jaxcalc.lab.runner import Run
from jaxcalc.lab.store import Store, write_atomically
from jaxcalc.lab.text import number, seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["conclude", "redo", "save_figure"]


def conclude(run: Run, part: Part, say: Callable[[str], None] = lambda _: None, formats: tuple[str, ...] = ()) -> None:
    """Draw, judge and write the report of a run whose ``results.nc`` is there.

    What an experiment's own figures or claims raise becomes one of the run's messages; the rest is still made.

    Args:
      run: gains claims, figures, tables and messages.
      part: the experiment's part.
      say: told what is being done.
      formats: further file formats for each figure, such as ``png`` or ``pdf``.
    """
    from jaxcalc import style

    say("drawing figures")
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    captions: dict[str, str] = {}
    with style.context():
        for name, figure in (_attempt(run, "figures", part.figures) or {}).items():
            run.figures[name] = folder / f"{name}.svg"
            captions[name] = str(figure.get_label() or "")
            for kind in ("svg", *formats):
                save_figure(figure, folder / f"{name}.{kind}")
    say("judging claims")
    run.claims = list(_attempt(run, "claims", part.claims) or [])
    run.tables = dict(_attempt(run, "tables", part.tables) or {})
    judged = [{**vars(claim), "verdict": claim.verdict, "passed": claim.passed} for claim in run.claims]
    write_atomically(run.path / "claims.json", json.dumps(judged, indent=2, default=str).encode() + b"\n")
    say("writing the report")
    write_atomically(run.report, _page(run, captions).encode())


def _attempt(run: Run, what: str, make: Callable[..., Any] | None) -> Any:
    if make is None:
        return None
    try:
        return make(run.dataset)
    except Exception as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
        place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        run.messages.append(f"{what}: {type(error).__name__}: {error}{place}")
        (run.path / f"{what}-error.txt").write_text(traceback.format_exc())
        return None


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure so that the same data give the same file, whole or not at all."""
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:], {})
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format=path.suffix[1:], metadata=metadata)
    partial.replace(path)


def redo(path: Path, formats: tuple[str, ...] = ()) -> Run:
    """Figures, claims and report of a finished run, made anew from its dataset by the experiment as it is now.

    Raises:
      ConfigError: there is no finished run at ``path``, or its experiment is gone.
    """
    store = Store(path)
    run = Run(path)
    name = run.dataset.attrs.get("experiment", "")
    try:
        record = json.loads((path / "plan.json").read_text())
    except (OSError, json.JSONDecodeError):
        raise ConfigError(f"{path}: not a run's folder; it has no plan.json") from None
    run.statuses = {t["hash"]: (store.result(t["hash"]) or {"status": "not run"})["status"] for t in record["trials"]}
    conclude(run, registry.load(name, Path(record["folder"])).part, formats=formats)
    return run


def _page(run: Run, captions: dict[str, str]) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("jaxcalc.lab"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, seconds=seconds, words=_words)
    record = json.loads((run.path / "plan.json").read_text())
    trials = [_trial(run, record, entry) for entry in record["trials"]]
    provenance = next((t["provenance"] for t in trials if t["provenance"]), {})
    pictures = [
        {"name": name, "caption": captions.get(name, ""), "data": base64.b64encode(file.read_bytes()).decode()}
        for name, file in run.figures.items()
    ]
    return environment.get_template("report.html.j2").render(
        run=run,
        record=record,
        dataset=run.dataset,
        variables=_variables(run),
        figures=pictures,
        trials=trials,
        provenance=provenance,
        settings=source.dump({k: v for k, v in record["identity"]["settings"].items() if v not in (None, {}, [])}),
        compile_seconds=sum(t["provenance"].get("compile_seconds", 0.0) for t in trials),
        run_seconds=sum(t["provenance"].get("run_seconds", 0.0) for t in trials),
    )


def _trial(run: Run, record: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    folder = run.path / "trials" / entry["hash"]
    try:
        provenance = json.loads((folder / "provenance.json").read_text())
    except (OSError, json.JSONDecodeError):
        provenance = {}
    outer = [axis for axis in record["axes"] if axis["kind"] != "vmap"]
    words = [f"{axis['name']} = {number(axis['values'][i])}" for axis, i in zip(outer, entry["index"])]
    first, last = entry["lanes"]
    if last - first > 1 or len(record["axes"]) > len(outer):
        words.append(f"lanes {first + 1} to {last}")
    status = run.statuses.get(entry["hash"], "not run")
    return {**entry, "words": ", ".join(words) or "the only point", "provenance": provenance, "status": status}


def _variables(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "dims": " × ".join(f"{d} {array.sizes[d]}" for d in array.dims) or "scalar",
            "units": array.attrs.get("units", ""),
            "description": array.attrs.get("long_name", ""),
            "measured": bool(array.attrs.get("measured")),
            "dtype": str(array.dtype) if array.dtype.kind != "O" else "text",
        }
        for name, array in run.dataset.variables.items()
    ]


def _words(name: str) -> str:
    """A figure's name as a heading."""
    text = name.replace("_", " ").replace("-", " ")
    return text[:1].upper() + text[1:]
