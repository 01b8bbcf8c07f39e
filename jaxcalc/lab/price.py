"""How many lanes one trial may hold: read off the program before anything runs."""

import os
from typing import Any

from jaxcalc.lab.execute import Programs, check_declared, plain_dtype
from jaxcalc.lab.sweep import Plan

# A trial may hold this share of the device's memory; the rest is for XLA's copies and for the machine's other work.
_SHARE = 0.25


def default_chunk(plan: Plan, device: Any, programs: Programs) -> int:
    """The lanes per trial that the memory allows, at most all of them.

    The programs traced here stay in ``programs``, so that a run does not trace them again.
    """
    if plan.experiment.kind != "compiled" or plan.num_lanes == 1:
        return 1 if plan.experiment.kind != "compiled" else plan.num_lanes
    from jaxcalc.programs import walk
    from jaxcalc.programs.cost import price

    need = 0
    for trial in plan.trials(plan.num_lanes):
        try:
            program = walk.read(programs.traced(plan.experiment, trial.config).jaxpr)
            need = max(need, price(program).peak_bytes + sum(value.bytes for value in program.inputs))
        except Exception:
            return plan.num_lanes  # the trial itself will say what is wrong
    return max(1, min(plan.num_lanes, int(plan.num_lanes * _SHARE * _memory(device) / max(need, 1))))


def _memory(device: Any) -> int:
    """The device's memory in bytes, the machine's where the device does not tell."""
    statistics = device.memory_stats() or {}
    return statistics.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def shapes(plan: Plan, programs: Programs) -> dict[str, tuple[tuple[int, ...], str]] | None:
    """Shape over all lanes (lanes first) and kept dtype of each result: the largest over all programs.

    ``None`` where only running tells.

    Raises:
      TrialError: what ``run`` returns is not what ``VARIABLES`` declares.
    """
    if plan.experiment.kind != "compiled":
        return None
    import jax

    part, found = plan.experiment.part, {}
    names = set(plan.experiment.variables) - set(part.shared(plan.base) if part.shared else ())
    for trial in plan.trials(plan.num_lanes):
        out = dict(programs.traced(plan.experiment, trial.config).out_info)
        lead = () if trial.config["lanes"] else (1,)
        infos = {k: jax.ShapeDtypeStruct((*lead, *info.shape), info.dtype) for k, info in out.items()}
        check_declared(plan.experiment, infos, names)
        for name, info in infos.items():
            shape, _ = found.get(name, (info.shape, ""))
            found[name] = (tuple(map(max, shape, info.shape)), str(plain_dtype(info.dtype) or info.dtype))
    return found
