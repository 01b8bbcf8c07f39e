"""What does a print inside a traced program tell: how often, in what order, and at what price?

The running example is Heron's iteration for a square root, x <- (x + a / x) / 2, with a print in each step.
"""

import numpy as np
import pydantic

from experiments._survey import Timed
from jaxcalc import measure, style
from jaxcalc.lab import Finding, Variable, above, below, equal, holds, jax, jnp

kind = "timed"


class Config(Timed):
    steps: int = pydantic.Field(4, ge=2)
    """steps of the iteration, with a print in each"""
    starts: tuple[float, ...] = pydantic.Field((2.0, 3.0, 5.0), min_length=2)
    """numbers whose roots are taken; under vmap all at once, else the first"""
    length: int = pydantic.Field(1000, ge=2)
    """steps of the iteration that is timed"""
    prints: tuple[int, ...] = (1, 10, 100, 1000)
    """prints in them, evenly spaced"""


def _exact(dims, description):
    return Variable(dims, "", description, measured=False)


VARIABLES = {
    "transform": _exact(("transform",), "how the iteration is called"),
    "lanes": _exact(("transform",), "numbers that go through it at once"),
    "python": _exact(("transform", "call"), "times that Python's own code ran, and would have printed"),
    "printed": _exact(("transform", "call"), "times that jax.debug.callback reported"),
    "step": _exact(("transform", "event"), "the step that was reported, in order of the reports of the second call"),
    "steps_in_order": _exact(("transform",), "whether no lane reports a step before an earlier one"),
    "lanes_in_order": _exact(("transform",), "whether in each step the lanes report one after the other"),
    "gap": _exact(("transform",), "largest difference of the result from that of the program without prints"),
    "prints": _exact(("prints",), "prints in one call"),
    "seconds": Variable(("prints", "repeat"), "s", "run time of one call with so many prints"),
    "silent_seconds": Variable(("repeat",), "s", "run time of one call of the program without prints"),
}


def _heron(steps, report):
    """The iteration, which starts at a; ``report(i, a, x)`` stands in the body of its loop."""

    def root(a):
        def step(i, x):
            x = 0.5 * (x + a / x)
            report(i, a, x)
            return x

        return jax.lax.fori_loop(0, steps, step, a)

    return root


def _transforms():
    """Name -> (transform, whether it takes all numbers at once, whether prints are asked to keep their order)."""
    return {
        "as written": (lambda f: f, False, False),
        "jit": (jax.jit, False, False),
        "jit of grad": (lambda f: jax.jit(jax.grad(f)), False, False),
        "jit of hessian": (lambda f: jax.jit(jax.hessian(f)), False, False),
        "jit of vmap": (lambda f: jax.jit(jax.vmap(f)), True, False),
        "jit of vmap, ordered": (lambda f: jax.jit(jax.vmap(f)), True, True),
        "jit of vmap of grad": (lambda f: jax.jit(jax.vmap(jax.grad(f))), True, False),
        "jit of grad of checkpoint": (lambda f: jax.jit(jax.grad(jax.checkpoint(f))), False, False),
    }


def _watch(config, transform, all_at_once, ordered):
    """Two calls of the transformed iteration: how often Python ran and the program reported, and the last reports."""
    traced, reports = [], []

    def report(i, a, x):
        traced.append(i)  # here Python's print would stand
        keep = lambda i, a: reports.append((int(i), int(np.argmin(abs(np.subtract(config.starts, a))))))
        jax.debug.callback(keep, i, a, ordered=ordered)

    a = jnp.asarray(config.starts if all_at_once else config.starts[0])
    watched, plain = (transform(_heron(config.steps, told)) for told in (report, lambda *_: None))
    counts, gap = [], 0.0
    for _ in range(2):
        traced.clear()
        reports.clear()
        gap = max(gap, float(abs(watched(a) - plain(a)).max()))
        jax.effects_barrier()
        counts.append((len(traced), len(reports)))
    return counts, list(reports), gap


def _timed(config):
    """Seconds of a call of the long iteration: without a print, then by the number of prints."""

    def every(pace):
        def report(i, a, x):
            send = lambda: jax.debug.callback(lambda x: None, x)
            jax.lax.cond(i % pace == 0, send, lambda: None)

        return report

    reports = {0: lambda *_: None, **{count: every(-(-config.length // count)) for count in config.prints}}
    calls = {}
    for count, report in reports.items():
        compiled = jax.jit(_heron(config.length, report))
        calls[str(count)] = lambda compiled=compiled: (compiled(config.starts[0]), jax.effects_barrier())[0]
    timings = measure.interleave(calls, repeats=config.repeats, min_seconds=config.min_seconds)
    return [timing.samples for timing in timings.values()]


def run(config, key):
    watched = {name: (_watch(config, *how), how[1]) for name, how in _transforms().items()}
    counts = np.array([counts for (counts, *_), _ in watched.values()])
    reports = [reports for (_, reports, _), _ in watched.values()]
    step = np.full((len(reports), max(map(len, reports))), np.nan)
    for row, told in zip(step, reports):
        row[: len(told)] = [i for i, _ in told]
    by_lane = lambda told: [[i for i, own in told if own == lane] for lane in range(len(config.starts))]
    by_step = lambda told: [[lane for i, lane in told if i == at] for at in range(config.steps)]
    in_order = lambda parts: np.array([all(one == sorted(one) for one in part) for part in parts])
    silent, *seconds = _timed(config)
    return {
        "transform": np.array(list(watched)),
        "lanes": np.array([len(config.starts) if many else 1 for _, many in watched.values()]),
        "python": counts[..., 0],
        "printed": counts[..., 1],
        "step": step,
        "steps_in_order": in_order(map(by_lane, reports)),
        "lanes_in_order": in_order(map(by_step, reports)),
        "gap": np.array([gap for (*_, gap), _ in watched.values()]),
        "prints": np.array(config.prints),
        "seconds": np.array(seconds),
        "silent_seconds": silent,
    }


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9)
    step = dataset.step.sel(transform=["jit", "jit of vmap", "jit of grad of checkpoint"])
    step = step.assign_coords(event=np.arange(1, step.sizes["event"] + 1))
    hollow = {"markerfacecolor": "none", "markeredgewidth": 0.9, "markersize": 7}  # its first half lies on jit
    looks = {"jit of grad of checkpoint": hollow}
    style.chart(step, "event", hue="transform", looks=looks, axes=left, legend="upper left")
    left.set(xlabel="line of the output", ylabel="step that is printed", title="order")
    left.set(ylim=(-0.3, 1.9 * float(step.max())))
    left.set_yticks(range(int(step.max()) + 1))
    silent, most = dataset.silent_seconds.median(), dataset.isel(prints=-1)
    price = float((most.seconds.median() - silent) / most.prints)
    without = silent + 0 * dataset.prints
    style.chart(dataset.seconds, "prints", axes=right, log="xy", theory=without, ylabel="time of one call (s)")
    right.set_title(f"price: {1e6 * price:.0f} µs a print")
    right.annotate("without a print", (dataset.prints[0], silent), (0, 4), textcoords="offset points", fontsize=7.5)
    figure.set_label(
        "Left: the steps that jax.debug.callback reports, line by line: under vmap each once a lane, in the gradient "
        "of a checkpoint twice. Right: the time of a call by its number of prints, medians with quartiles."
    )
    return {"debug": figure}


def tables(dataset):
    listed = lambda counts: ", ".join(f"{count:g}" for count in counts.values)
    often = [
        {
            "called": str(name),
            "Python ran (calls 1, 2)": listed(dataset.python.sel(transform=name)),
            "printed (calls 1, 2)": listed(dataset.printed.sel(transform=name)),
            "lanes in order": "yes" if dataset.lanes_in_order.sel(transform=name) else "no",
        }
        for name in dataset.transform.values
    ]
    return {"How often": often}


def _judge_python(dataset):
    first, second = dataset.drop_sel(transform="as written").python.transpose("call", "transform")
    lines, calls = dataset.printed.sel(transform="jit"), dataset.python.sel(transform="as written")
    return Finding(
        above(first, 1) & equal(second, 0) & above(lines, 2),
        measured=f"compiled: {first.values.max():g} at the first call, {second.values.max():g} at the second, where "
        f"jax.debug.callback reports {lines.values[-1]:g} steps again; not compiled: {calls.values.tolist()}",
    )


def _judge_often(dataset):
    rerun = "jit of grad of checkpoint"
    once = dataset.drop_sel(transform=rerun)
    steps = dataset.printed.sel(transform="jit")[0]
    return Finding(
        equal(once.printed.transpose("call", "transform"), [(once.lanes * steps).values] * 2),
        limits=equal(dataset.printed.sel(transform=rerun), 2 * steps),
        measured=", ".join(f"{name} {n:g}" for name, n in zip(dataset.transform.values, dataset.printed[:, 1].values)),
    )


def _judge_order(dataset):
    loose, kept = (dataset.lanes_in_order.sel(transform=name) for name in ("jit of vmap", "jit of vmap, ordered"))
    once = dataset.drop_sel(transform="jit of grad of checkpoint")
    return Finding(
        holds(once.steps_in_order) & holds(kept) & above(dataset.lanes, 1),
        limits=~holds(loose),
        measured=f"lanes of a vmap in order: {bool(loose)}; with ordered=True: {bool(kept)}",
    )


claims = {
    "python-print-runs-at-trace-time": _judge_python,
    "debug-print-once-for-each-evaluation": _judge_often,
    "debug-prints-keep-the-order-of-the-program": _judge_order,
    "debug-print-leaves-results-alone": lambda data: below(data.gap),
}
