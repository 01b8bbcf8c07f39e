"""What the commands print."""

import os
import sys
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from jaxcalc.lab import registry, source
from jaxcalc.lab.config import is_large, load, runs
from jaxcalc.lab.errors import ConfigError, TrialError
from jaxcalc.lab.format import number, seconds, size, table
from jaxcalc.lab.sweep import SEED, Plan

if TYPE_CHECKING:
    from jaxcalc.lab.results import Run


def outcome(run: "Run") -> str:
    """A finished run: its tables, claims, failures and where the report is."""
    parts = [f"{title}\n{table(rows)}" for title, rows in run.tables.items() if rows]
    if run.claims:
        rows = [
            {
                "verdict": c.verdict if c.passed else f"{c.verdict} (expected {c.expects})",
                "claim": c.id,
                "expected": number(c.expected),
                "measured": getattr(c, "reason", "") or number(c.measured),
            }
            for c in run.claims
        ]
        parts.append(f"Claims\n{table(rows)}")
    parts += [f"failed: {message}" for message in run.messages]
    finished = sum(status == "done" for status in run.statuses.values())
    line = f"{finished} of {len(run.statuses)} trials finished"
    if run.resumed:
        line += f", {run.resumed} of them before"
    if run.seconds:
        line += f"; {seconds(run.seconds)}"
    closing = [line, f"results: {run.path / 'results.nc'}", f"report:  {run.report}"]
    return "\n\n".join([*parts, "\n".join(closing[:1] if not run.report.exists() else closing)])


def dry_run(plan: Plan) -> str:
    """What a config would run: points, programs, chunks and the sizes of the arrays."""
    import numpy as np

    from jaxcalc.lab.errors import where
    from jaxcalc.lab.execute import Programs
    from jaxcalc.lab.price import default_chunk, shapes
    from jaxcalc.lab.runtime import configured

    with configured(plan.loaded) as device:
        programs = Programs()
        chunk = plan.loaded.settings.chunk or default_chunk(plan, device, programs)
        try:
            results = shapes(plan, programs)
        except Exception as error:
            raise ConfigError(str(error) if isinstance(error, TrialError) else where(error)) from None
    trials = plan.trials(chunk)
    axes = " × ".join(f"{axis.name} {len(axis)} ({axis.kind})" for axis in plan.axes) or "no sweep"
    lines = [
        f"{plan.experiment.name} ({plan.experiment.kind}): {axes}",
        f"points:   {plan.num_points}",
        f"programs: {plan.num_programs}",
        f"chunks:   {len(trials)} of at most {chunk} lanes" if plan.lanes else f"chunks:   {len(trials)}",
    ]
    if results is None:
        return "\n".join([*lines, f"arrays:   a {plan.experiment.kind} experiment tells their sizes when it runs"])
    outer = tuple(map(len, plan.outer))
    rows, total = [], 0
    for name, (shape, dtype) in results.items():
        own = plan.experiment.variables[name].dims if name in plan.experiment.variables else ()
        coordinate = own == (name,)
        full = shape[1:] if coordinate else (*outer, *map(len, plan.lanes), *shape[1:])
        count = prod(full) * np.dtype(dtype).itemsize
        total += count
        dims = own if coordinate else (*(axis.name for axis in plan.axes), *own)
        rows.append(
            {
                "array": name,
                "shape": " × ".join(map(str, full)) or "scalar",
                "dtype": dtype,
                "size": size(count),
                "dimensions": ", ".join(dims),
            }
        )
    return "\n".join([*lines, f"arrays:   {size(total)}", table(rows)])


def listing() -> str:
    """The configs in reach, and the questions by chapter."""
    rows = [
        {"config": str(path), "question": source.opening_question(path.read_text(encoding="utf-8", errors="replace"))}
        for path in _configs()
    ]
    parts = [f"Configs\n{table(rows)}"] if rows else []
    for chapter, names in _by_chapter().items():
        rows = [{"question": name, "asks": title} for name, title in names.items()]
        parts.append(f"{chapter[:1].upper()}{chapter[1:]}\n{table(rows)}")
    return "\n\n".join(parts) or "no configs/ and no experiments/ here"


def runnable() -> list[str]:
    """What ``jaxcalc run`` takes here: the configs at the top of ``configs``, and each question that no config asks.

    Configs whose name ends in ``-large`` are for an accelerator and run by name alone; a question that only they ask is
    still listed, with its defaults.
    """
    configs = [path for path in _configs() if not is_large(path)]
    asked = {load(config).settings.experiment for path in configs for config in runs(path)}
    questions = [name for names in _by_chapter().values() for name in names]
    top = [str(path) for path in configs if len(path.parts) == 2]
    return [*top, *(name for name in questions if name not in asked)]


def _configs() -> list[Path]:
    return sorted(p for p in Path("configs").rglob("*.y*ml") if p.is_file() and not p.name.startswith("."))


def _by_chapter() -> dict[str, dict[str, str]]:
    """Chapter -> the questions of its subjects with what they ask; those in no chapter come last."""
    order = {
        subject: chapter
        for f in registry.folders()
        for chapter, all_ in registry.chapters(f).items()
        for subject in all_
    }
    place = {subject: number for number, subject in enumerate(order)}
    experiments = {**registry.available(), **registry.own_packages()}
    subject = lambda name: name.partition(".")[0]
    found: dict[str, dict[str, str]] = {}
    for name in sorted(experiments, key=lambda name: (place.get(subject(name), len(place)), name)):
        found.setdefault(order.get(subject(name), "experiments"), {}).update(
            registry.questions(name, experiments[name])
        )
    return {chapter: names for chapter, names in found.items() if names}


def shown(plan: Plan) -> str:
    """Every value of a config and its origin."""
    rows = []

    def walk(value: Any, path: tuple[Any, ...], label: str) -> None:
        if isinstance(value, pydantic.BaseModel):
            value = {name: getattr(value, name) for name in type(value).model_fields}
        if isinstance(value, dict) and value:
            for key, child in value.items():
                walk(child, (*path, key), f"{label}.{key}" if label else str(key))
            return
        rows.append({"key": label, "value": _written(value), "from": plan.loaded.origin(path)})

    settings = plan.loaded.settings
    for name in type(settings).model_fields:
        if name == "params":
            walk(plan.base, ("params",), "params")
        elif name == "sweep":
            for kind in ("vmap", "grid", "auto", "cases"):
                if axes := getattr(settings.sweep, kind):
                    items = axes.items() if isinstance(axes, dict) else enumerate(axes)
                    for key, values in items:
                        walk_path = ("sweep", kind, key)
                        rows.append(
                            {
                                "key": f"sweep.{kind}.{key}",
                                "value": _written(values),
                                "from": plan.loaded.origin(walk_path),
                            }
                        )
        else:
            walk(getattr(settings, name), (name,), name)
    swept = {".".join(map(str, path)) for axis in plan.axes for path in axis.fields if path != SEED}
    for row in rows:
        if row["key"].removeprefix("params.") in swept and row["key"].startswith("params."):
            row["from"] += " (swept)"
    return table(rows, indent="")


def _written(value: Any) -> str:
    import json

    return json.dumps(value, default=str) if not isinstance(value, str) else value


def information() -> str:
    """Versions, devices and folders."""
    from jaxcalc.cache import cache_folder
    from jaxcalc.lab.provenance import devices, processor, versions

    rows = [
        *({"": name, " ": version} for name, version in versions().items()),
        {"": "processor", " ": f"{processor()}, {os.cpu_count()} cores"},
        *({"": f"device {d['id']}", " ": f"{d['platform']}: {d['kind']}"} for d in devices()),
        {"": "cache", " ": str(cache_folder())},
        {"": "python", " ": sys.executable},
    ]
    width = max(len(row[""]) for row in rows)
    return "\n".join(f"{row['']:<{width}}  {row[' ']}" for row in rows)
