"""Every claim in one table: what was expected, what was measured, the verdict and the figure that shows it."""

import ast
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxcalc.lab import registry
from jaxcalc.lab.config import load as load_config
from jaxcalc.lab.errors import ConfigError, nearest
from jaxcalc.lab.ledger import ledger
from jaxcalc.lab.text import number, table

__all__ = ["Evidence", "evidence", "sources"]


@dataclass
class Evidence:
    """What the runs say of the ledger's claims.

    Args:
      rows: one for each judged claim, ready for a table.
      wrong: ids whose verdict is not the ledger's.
      missing: ids asked for that no run judged.
      failed: configs whose run failed, with the reason.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether every claim that was judged has the ledger's verdict, and every run succeeded."""
        return not self.wrong and not self.failed

    def __str__(self) -> str:
        parts = [table(self.rows)] if self.rows else []
        parts += [f"failed: {config}: {reason}" for config, reason in self.failed.items()]
        if self.wrong:
            parts.append(f"not the ledger's verdict: {', '.join(self.wrong)}")
        if self.missing:
            parts.append(f"no evidence yet for {len(self.missing)}: {', '.join(self.missing)}")
        counts = {word: sum(row["verdict"].startswith(word) for row in self.rows) for word in _WORDS}
        told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
        parts.append(f"{len(self.rows)} claims judged: {told}" if self.rows else "no claim judged")
        return "\n\n".join(parts)


_WORDS = ("confirmed", "qualified", "refuted", "cited")


def sources(folder: Path = Path("configs")) -> dict[Path, frozenset[str]]:
    """The ledger's claims that each config's experiment names; read off its source, nothing is imported.

    Args:
      folder: holds the configs; benchmarks in folders below judge claims of their own.
    """
    known = set(ledger())
    found = {}
    for path in sorted(folder.glob("*.y*ml")):
        name = load_config(path).settings.experiment.partition(":")[0]
        file = registry.available(path.resolve().parent).get(name)
        if file is not None:
            found[path] = frozenset(known & _strings(file))
    return found


def _strings(file: Path) -> set[str]:
    """Every string that a module holds."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def evidence(names: Sequence[str] = (), *, out: str | Path = "runs", folder: Path = Path("configs")) -> Evidence:
    """Run what is needed, and judge the claims asked for.

    Args:
      names: ids of claims, parts or topics of the ledger, or names of configs; by default everything.
      out: the folder that holds runs; what is finished there is not run again.
      folder: holds the configs.

    Raises:
      ConfigError: for a name that is none of these.
    """
    known, wanted = ledger(), _wanted(names, folder)
    found = Evidence()
    for config, ids in sources(folder).items():
        if not (ids & wanted or config.stem in names):
            continue
        claims, reason = _judge(config, Path(out))
        if reason:
            found.failed[str(config)] = reason
        for claim in claims:
            if claim["id"] in wanted or (claim["id"] in ids and config.stem in names):
                _tell(found, claim, config, known[claim["id"]].expects)
    judged = {row["claim"] for row in found.rows}
    found.missing = [id for id in known if id in wanted and id not in judged]
    return found


def _wanted(names: Sequence[str], folder: Path) -> set[str]:
    """The ids that names stand for."""
    known = ledger()
    stems = {path.stem for path in folder.glob("*.y*ml")}
    if not names:
        return set(known)
    wanted: set[str] = set()
    for name in names:
        some = {id for id, one in known.items() if name in (id, one.part, one.topic)}
        if not some and name not in stems:
            words = {*known, *stems, *(one.part for one in known.values()), *(one.topic for one in known.values())}
            near = nearest(name, words)
            raise ConfigError(
                f"evidence: {name!r} is no claim, no part or topic of the ledger, and no config"
                + (f"; did you mean {near!r}?" if near else "")
            )
        wanted |= some
    return wanted


def _judge(config: Path, out: Path) -> tuple[list[dict[str, Any]], str]:
    """The claims of a config's run, made in a process of its own: each sets its own precision before JAX starts."""
    command = [sys.executable, "-m", "jaxcalc.lab.evidence", str(config), str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    told = ended.stdout.strip().splitlines()
    if ended.returncode or not told:
        return [], (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    answer = json.loads(told[-1])
    file = Path(answer["path"]) / "claims.json"
    return json.loads(file.read_text()) if file.exists() else [], "; ".join(answer["messages"])


def _tell(found: Evidence, claim: dict[str, Any], config: Path, expects: str) -> None:
    right = claim["verdict"] == expects
    if not right:
        found.wrong.append(claim["id"])
    found.rows.append(
        {
            "claim": claim["id"],
            "expected": number(claim["expected"]),
            "measured": number(claim["measured"]),
            "verdict": claim["verdict"] if right else f"{claim['verdict']} (ledger: {expects})",
            "figure": f"{config.stem}:{claim['figure']}" if claim["figure"] else config.stem,
        }
    )


if __name__ == "__main__":
    from jaxcalc.lab.runner import run

    finished = run(sys.argv[1], out=sys.argv[2], progress=False)
    print(json.dumps({"path": str(finished.path), "messages": finished.messages}))
