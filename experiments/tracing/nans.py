"""What finds a NaN in a compiled program: a print in each step, jax.debug_nans, or checkify?"""

import contextlib
import io
import re

import numpy as np

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, equal, holds, jax, jnp

kind = "host"


class Config(lab.Config):
    steps: int = 6
    """logarithms taken of each other; the fourth of 5 is the first that has no value"""


VARIABLES = {
    "program": Variable(("program",), "", "a program that ends in NaN"),
    "tool": Variable(("tool",), "", "what looks for it"),
    "told": Variable(("program", "tool"), "", "what the tool names: a step or an operation"),
    "silent": Variable(("program",), "", "whether the compiled program returns NaN without a word"),
}

TOOLS = ("print", "jax.debug_nans", "checkify")


def _hunt(program, at, seen):
    """What each tool tells of a program's NaN, and whether it is there."""
    from jax.experimental import checkify

    seen.clear()
    silent = bool(np.isnan(jax.jit(program)(at)))
    jax.effects_barrier()
    steps = f"step {min(seen)}" if seen else "nothing"
    stopped = "nothing"
    with jax.debug_nans(True), contextlib.redirect_stdout(io.StringIO()):
        try:
            jax.block_until_ready(jax.jit(program)(at))
        except FloatingPointError as error:
            stopped = str(error).rpartition(" in ")[2].partition(" ")[0].strip(".\n")
    error, _ = jax.jit(checkify.checkify(program, errors=checkify.nan_checks))(at)
    named = re.search(r"primitive: (\w+)", error.get() or "")
    return [steps, stopped, named[1] if named else "nothing"], silent


def run(config, key):
    seen = []

    def look(i, x):
        """Print x where it is NaN: the step is kept."""
        jax.debug.callback(lambda i, x: seen.append(int(i)) if np.isnan(x) else None, i, x)
        return x

    def written_out(x):
        for i in range(config.steps):
            x = look(i, jnp.log(x))
        return x

    looped = lambda x: jax.lax.fori_loop(0, config.steps, lambda i, x: look(i, jnp.log(x)), x)
    root = lambda x: look(0, jnp.where(x > 0, jnp.sqrt(x), 0.0))
    programs = {
        "logarithms, written out": (written_out, 5.0),
        "logarithms in a loop": (looped, 5.0),
        "gradient of a root at 0": (jax.grad(root), 0.0),
    }
    found = [_hunt(program, at, seen) for program, at in programs.values()]
    return {
        "program": np.array(list(programs)),
        "tool": np.array(TOOLS),
        "told": np.array([told for told, _ in found]),
        "silent": np.array([silent for _, silent in found]),
    }


def figures(dataset):
    from matplotlib.colors import to_rgb

    colors = {"nothing": "0.82", "scan": "#F3DFA8"}  # of what names an operation or a step: green
    faces = [[to_rgb(colors.get(word, "#BFE3D5")) for word in row] for row in dataset.told.values.tolist()]
    figure, axis = style.subplots(width=4.6, height=1.7)
    style.cells(axis, dataset.told.transpose("program", "tool"), faces, fontsize=7.5)
    figure.set_label(
        "What each tool names of a NaN in a compiled program: the step or the operation (green), only the loop that "
        "holds it (yellow), nothing (grey)."
    )
    return {"nans": figure}


def _judge_debug_nans(dataset):
    out, loop, root = dataset.told.sel(tool="jax.debug_nans").values.tolist()
    return Finding(
        equal([out, root], ["log", "mul"]) & holds(dataset.silent),
        limits=equal(loop, "scan"),
        measured=f"written out {out}, gradient of a root {root}; in a loop only {loop}",
    )


def _judge_checkify(dataset):
    found, printed = (dataset.told.sel(tool=tool).values.tolist() for tool in ("checkify", "print"))
    return Finding(
        equal(found, ["log", "log", "mul"]) & equal(printed, ["step 3", "step 3", "nothing"]) & holds(dataset.silent),
        measured=f"checkify {', '.join(found)}; a print of the values {', '.join(printed)}",
    )


claims = {"debug-nans-names-the-operation": _judge_debug_nans, "checkify-names-the-operation": _judge_checkify}
