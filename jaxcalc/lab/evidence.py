"""Every claim in one table: what was expected, what was measured, the verdict and the figure that shows it."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxcalc.lab import ledger, registry
from jaxcalc.lab.config import is_large, runs, stem
from jaxcalc.lab.config import load as load_config
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.format import number, table

__all__ = ["Evidence", "evidence", "sources"]


@dataclass
class Evidence:
    """What the runs say of the claims in reach.

    Args:
      rows: one for each claim asked for that a run told of, ready for a table.
      wrong: ids whose verdict is not the ledger's; those not judged are among them.
      missing: ids asked for that no run told of.
      failed: configs whose run failed, with the reason.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every claim that was asked for has the ledger's verdict, and every run succeeded."""
        return not self.wrong and not self.failed and not self.missing

    def __str__(self) -> str:
        parts = [table(self.rows)] if self.rows else []
        parts += [f"failed: {config}: {reason}" for config, reason in self.failed.items()]
        if self.wrong:
            parts.append(f"not the ledger's verdict: {', '.join(self.wrong)}")
        if self.missing:
            parts.append(f"no evidence for {len(self.missing)}: {', '.join(self.missing)}")
        counts = {word: sum(row["verdict"].startswith(word) for row in self.rows) for word in _WORDS}
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        parts.append(f"{len(self.rows)} claims judged: {told}" if self.rows else "no claim judged")
        return "\n\n".join(parts)


_WORDS = ("confirmed", "qualified", "refuted", "cited", "not judged")


def sources(folder: Path = Path("configs")) -> dict[str, frozenset[str]]:
    """The claims that each config judges, and each question in reach that no config runs.

    Args:
      folder: holds the configs, also in folders below; those whose name ends in ``-large`` are left out.
    """
    found: dict[str, frozenset[str]] = {}
    asked = set()
    paths = [path for path in sorted(folder.rglob("*.y*ml")) if not is_large(path)]
    for config in (config for path in paths for config in runs(path)):
        loaded = load_config(config)
        asked.add(loaded.settings.experiment)
        judges = _named(loaded.settings.experiment, loaded.folder)
        only = loaded.settings.claims
        found[config] = judges if only is None else judges & frozenset(only)
    for module, file in {**registry.available(), **registry.own_packages()}.items():
        for name in registry.questions(module, file):
            if name not in asked:
                found[name] = _named(name, None)
    return found


def _named(question: str, near: Path | None) -> frozenset[str]:
    """The ids of the claims that a question names."""
    return frozenset(registry.load(question, near).part.claims)


def evidence(names: Sequence[str] = (), *, out: str | Path = "runs", folder: Path = Path("configs")) -> Evidence:
    """Run what is needed, and judge the claims asked for.

    Args:
      names: ids of claims, parts or topics of a ledger in reach, names of configs or questions; by default everything.
      out: the folder that holds runs; what is finished there is not run again.
      folder: holds the configs.

    Raises:
      ConfigError: for a name that is none of these.
    """
    judges, known = sources(folder), in_reach()
    wanted = _wanted(names, judges, known)
    found, told = Evidence(), set()
    for config in _needed(wanted, judges):
        claims, reason = _judge(config, Path(out))
        if reason:
            found.failed[config] = reason
        for claim in claims:
            if claim["id"] in wanted - told:
                told.add(claim["id"])
                _tell(found, claim, config)
    found.missing = [id for id in dict.fromkeys((*known, *sorted(wanted))) if id in wanted - told]
    return found


def in_reach() -> dict[str, ledger.Entry]:
    """The claims of every ledger in reach: of the experiments' folders, and of packages in the current folder."""
    folders = [*registry.folders(), *sorted(path.parent for path in Path.cwd().glob(f"*/{ledger.NAME}"))]
    files = [file for folder in folders for file in sorted(folder.rglob(ledger.NAME))]
    return ledger.merged(dict.fromkeys(file.resolve() for file in files))


def _needed(wanted: set[str], judges: dict[str, frozenset[str]]) -> list[str]:
    """The fewest configs, taken greedily, that judge what is wanted; in their own order."""
    chosen: set[str] = set()
    left = set(wanted)
    while best := max(judges, key=lambda config: len(judges[config] & left), default=None):
        if not judges[best] & left:
            break
        chosen.add(best)
        left -= judges[best]
    return [config for config in judges if config in chosen]


def _wanted(names: Sequence[str], judges: dict[str, frozenset[str]], known: dict[str, ledger.Entry]) -> set[str]:
    """The ids that names stand for."""
    if not names:
        return set(known)
    stems: dict[str, list[str]] = {}
    for config in judges:
        for name in {config, config.rpartition(":")[0], stem(config), stem(config.rpartition(":")[0])}:
            stems.setdefault(name, []).append(config)
    wanted: set[str] = set()
    for name in names:
        some = {id for id, entry in known.items() if name in (id, entry.part, entry.topic)}
        if name and name in stems:
            some |= frozenset().union(*(judges[config] for config in stems[name]))
        elif not some:
            words = {*known, *stems, *(e.part for e in known.values()), *(e.topic for e in known.values())}
            near = nearest(name, words)
            raise ConfigError(
                f"evidence: {name!r} is no claim, no part or topic of a ledger, no config and no question"
                + (f"; did you mean {near!r}?" if near else "")
            )
        wanted |= some
    return wanted


def _judge(config: str, out: Path) -> tuple[list[dict[str, Any]], str]:
    """The claims of a config's run, made in a process of its own: each sets its own precision before JAX starts."""
    command = [sys.executable, "-m", "jaxcalc.lab.evidence", config, str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    told = ended.stdout.strip().splitlines()
    if ended.returncode or not told:
        return [], (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    answer = json.loads(told[-1])
    file = Path(answer["path"]) / "claims.json"
    return json.loads(file.read_text()) if file.exists() else [], "; ".join(answer["messages"])


def _tell(found: Evidence, claim: dict[str, Any], config: str) -> None:
    if not claim["passed"]:
        found.wrong.append(claim["id"])
    name = stem(config)
    found.rows.append(
        {
            "claim": claim["id"],
            "expected": number(claim["expected"]),
            "measured": number(claim["measured"]) or claim.get("reason", ""),
            "verdict": claim["verdict"] if claim["passed"] else f"{claim['verdict']} (ledger: {claim['expects']})",
            "figure": f"{name}:{claim['figure']}" if claim["figure"] else name,
        }
    )


if __name__ == "__main__":
    from jaxcalc.lab.runner import run

    finished = run(sys.argv[1], out=sys.argv[2], progress=False)
    print(json.dumps({"path": str(finished.path), "messages": finished.messages}))
