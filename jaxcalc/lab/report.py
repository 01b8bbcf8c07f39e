"""From a saved dataset to figures, verdicts, tables and one HTML page that needs no network."""

import base64
import json
import re
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxcalc.lab import registry, source
from jaxcalc.lab.errors import ConfigError, where
from jaxcalc.lab.format import number, seconds
from jaxcalc.lab.judge import verdict
from jaxcalc.lab.ledger import look_up
from jaxcalc.lab.plot import charts, save_figure
from jaxcalc.lab.registry import Experiment
from jaxcalc.lab.results import Run, read_statuses
from jaxcalc.lab.store import Store, write_atomically

__all__ = ["conclude", "redo"]


def conclude(
    run: Run,
    experiment: Experiment,
    say: Callable[[str], None] = lambda _: None,
    formats: tuple[str, ...] = (),
    only: Sequence[str] | None = None,
) -> None:
    """Draw, judge and write the report of a run whose ``results.nc`` is there.

    What an experiment's own figures or tables raise becomes one of the run's messages; the rest is still made.

    Args:
      run: gains claims, figures, tables and messages.
      experiment: whose run it is.
      say: told what is being done.
      formats: further file formats for each figure, such as ``png`` or ``pdf``.
      only: the claims to judge; by default all that the experiment names.
    """
    from jaxcalc import style

    say("drawing figures")
    captions: dict[str, str] = {}
    with style.context():
        _attempt(run, "figures", lambda: _draw(run, experiment, captions, formats))
    say("judging claims")
    _attempt(run, "claims", lambda: _judge(run, experiment, only))
    _attempt(run, "tables", lambda: _tabulate(run, experiment))
    say("writing the report")
    try:
        write_atomically(run.report, _page(run, captions).encode(errors="replace"))
    except OSError as error:
        raise ConfigError(f"cannot write {run.report}: {error.strerror or error}") from None


def _draw(run: Run, experiment: Experiment, captions: dict[str, str], formats: tuple[str, ...]) -> None:
    """The experiment's figures as files; without any of its own, a chart of each variable that has an axis."""
    folder = run.path / "figures"
    folder.mkdir(exist_ok=True)
    figures = charts(run.dataset) if experiment.part.figures is None else experiment.part.figures(run.dataset)
    for name, figure in figures.items():
        if not _NAME.fullmatch(str(name)):
            raise ValueError(f"a figure's name is made of letters, digits, - and _, got {name!r}")
        for kind in ("svg", *formats):
            save_figure(figure, folder / f"{name}.{kind}")
        run.figures[name], captions[name] = folder / f"{name}.svg", str(figure.get_label() or "")


def _judge(run: Run, experiment: Experiment, only: Sequence[str] | None) -> None:
    """The verdicts, in ``claims.json`` too; a claim shown by no figure in particular is shown by the only one."""
    judges = experiment.part.claims
    known = experiment.ledger() if judges else {}
    names = [id for id in judges if only is None or id in only]
    claims = [verdict(look_up(id, known, experiment.name), judges[id], run.dataset) for id in names]
    if len(run.figures) == 1:
        claims = [replace(claim, figure=claim.figure or next(iter(run.figures))) for claim in claims]
    told = [{**vars(c), "verdict": c.verdict, "passed": c.passed} for c in claims]
    write_atomically(run.path / "claims.json", json.dumps(told, indent=2, default=str).encode() + b"\n")
    run.claims = claims


def _tabulate(run: Run, experiment: Experiment) -> None:
    tables = dict(experiment.part.tables(run.dataset)) if experiment.part.tables else {}
    if not all(isinstance(row, dict) for rows in tables.values() for row in rows):
        raise TypeError("tables must return {title: [row, ...]}, each row a dict of column to value")
    run.tables = {str(title): list(rows) for title, rows in tables.items()}


_NAME = re.compile(r"[\w-]+")


def _attempt(run: Run, what: str, step: Callable[[], None]) -> None:
    """One step; what it raises becomes a message."""
    try:
        step()
    except (Exception, SystemExit) as error:
        run.messages.append(f"{what}: {where(error)}")
        (run.path / f"{what}-error.txt").write_text(traceback.format_exc())


def redo(path: Path, formats: tuple[str, ...] = ()) -> Run:
    """Figures, claims and report of a finished run, made anew from its dataset by the experiment as it is now.

    Raises:
      ConfigError: there is no finished run at ``path``, or its experiment is gone.
    """
    store = Store(path)
    record = store.record()
    run = Run(path)
    name = run.dataset.attrs.get("experiment", "")
    read_statuses(run, store, [trial["hash"] for trial in record["trials"]])
    experiment = registry.load(name, Path(record["folder"]), Path(record["file"]))
    conclude(run, experiment, formats=formats, only=record.get("claims"))
    return run


def _page(run: Run, captions: dict[str, str]) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("jaxcalc.lab"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(number=number, seconds=seconds, words=_words)
    store = Store(run.path)
    record = store.record()
    trials = [_trial(run, store, record, entry) for entry in record["trials"]]
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


def _trial(run: Run, store: Store, record: dict[str, Any], entry: dict[str, Any]) -> dict[str, Any]:
    outer = [axis for axis in record["axes"] if axis["kind"] != "vmap"]
    words = [f"{axis['name']} = {number(axis['values'][i])}" for axis, i in zip(outer, entry["index"])]
    first, last = entry["lanes"]
    if last - first > 1 or len(record["axes"]) > len(outer):
        words.append(f"lanes {first + 1} to {last}")
    status = run.statuses.get(entry["hash"], "not run")
    return {
        **entry,
        "words": ", ".join(words) or "the only point",
        "provenance": store.provenance(entry["hash"]),
        "status": status,
    }


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
