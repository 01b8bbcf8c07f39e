"""From a saved dataset to figures, verdicts, tables and one HTML page that needs no network."""

import base64
import json
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcalc.lab import registry, source
from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.experiment import Claim, Part
from jaxcalc.lab.runner import Run, tell_trials, where
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
    captions: dict[str, str] = {}

    def draw(dataset: Any) -> None:
        assert part.figures is not None
        for name, figure in part.figures(dataset).items():
            if not _NAME.fullmatch(str(name)):
                raise ValueError(f"a figure's name is made of letters, digits, - and _, got {name!r}")
            for kind in ("svg", *formats):
                save_figure(figure, folder / f"{name}.{kind}")
            run.figures[name], captions[name] = folder / f"{name}.svg", str(figure.get_label() or "")

    def judge(dataset: Any) -> None:
        claims = list(part.claims(dataset)) if part.claims else []
        if odd := [claim for claim in claims if not isinstance(claim, Claim)]:
            raise TypeError(f"claims must return a list of Claim, got {odd[0]!r}")
        told = [{**vars(c), "verdict": c.verdict, "passed": c.passed} for c in claims]
        write_atomically(run.path / "claims.json", json.dumps(told, indent=2, default=str).encode() + b"\n")
        run.claims = claims

    def tabulate(dataset: Any) -> None:
        tables = dict(part.tables(dataset)) if part.tables else {}
        if not all(isinstance(row, dict) for rows in tables.values() for row in rows):
            raise TypeError("tables must return {title: [row, ...]}, each row a dict of column to value")
        run.tables = {str(title): list(rows) for title, rows in tables.items()}

    if part.figures is not None:
        with style.context():
            _attempt(run, "figures", draw)
    say("judging claims")
    _attempt(run, "claims", judge)
    _attempt(run, "tables", tabulate)
    say("writing the report")
    try:
        write_atomically(run.report, _page(run, captions).encode(errors="replace"))
    except OSError as error:
        raise ConfigError(f"cannot write {run.report}: {error.strerror or error}") from None


_NAME = re.compile(r"[\w-]+")


def _attempt(run: Run, what: str, step: Callable[[Any], None]) -> None:
    """One step; what it raises becomes a message."""
    try:
        step(run.dataset)
    except (Exception, SystemExit) as error:
        run.messages.append(f"{what}: {where(error)}")
        (run.path / f"{what}-error.txt").write_text(traceback.format_exc())


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
    record = store.record()
    run = Run(path)
    name = run.dataset.attrs.get("experiment", "")
    tell_trials(run, store, [trial["hash"] for trial in record["trials"]])
    conclude(run, registry.load(name, Path(record["folder"]), Path(record["file"])).part, formats=formats)
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
