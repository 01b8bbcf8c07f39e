"""Does the mean over 10^8 points fit in the memory of a chunk?"""

import functools
from typing import get_args

import numpy as np
import pydantic

from experiments.monte_carlo import CHANCE, LABELS, Method, estimator
from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, above, below, less
from jaxcalc.lab.judge import Judge

kind = "timed"


class Config(lab.Config):
    doublings: tuple[int, ...] = (18, 22, 27)
    """logarithms to base 2 of the numbers of points"""
    dimension: int = pydantic.Field(1, ge=1)
    """of the unit cube"""
    replicates: int = pydantic.Field(16, ge=2)
    """independent shifts of the Sobol points"""


VARIABLES = {
    "method": Variable(("method",), "", "random points", measured=False),
    "evaluations": Variable(("evaluations",), "", "evaluations of the integrand", measured=False),
    "chunked": Variable(
        ("method", "evaluations"), "B", "memory for intermediate results, chunk by chunk", measured=False
    ),
    "at_once": Variable(("method", "evaluations"), "B", "memory for intermediate results, all at once", measured=False),
    "growth": Variable(("method", "evaluations"), "B", "growth of the process's largest resident memory so far"),
    "seconds": Variable(("method", "evaluations"), "s", "run time, chunk by chunk"),
    "error": Variable(("method", "evaluations"), "", "the estimate less the integral", measured=False),
    "standard_error": Variable(("method", "evaluations"), "", "the standard error that comes with it", measured=False),
}


def _largest_resident() -> float:
    """Bytes of memory that this process has held at most."""
    import resource
    import sys

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(most if sys.platform == "darwin" else 1024 * most)


def run(config, key):
    from jaxcalc.functions.integrands import integrals, integrands
    from jaxcalc.programs.compiled import executable

    smooth = lambda x: integrands(x)[0]
    sizes, methods = [2**k for k in config.doublings], get_args(Method)

    def programs(chunk_size):
        estimators = [
            estimator(method, smooth, n, config.dimension, config.replicates, chunk_size or n)
            for method in methods
            for n in sizes
        ]
        return [executable(estimate, key) for estimate in estimators]

    at_once = programs(None)
    chunked = programs(2**14)  # all compiled before any runs: compiling takes memory too
    start, found, resident = _largest_resident(), [], []
    for run in chunked:
        found.append(measure.once(functools.partial(run, key)))
        resident.append(_largest_resident() - start)
    table = lambda values: np.array(values, float).reshape(len(methods), len(sizes))
    return {
        "method": np.array(methods),
        "evaluations": np.array(sizes),
        "chunked": table([run.footprint for run in chunked]),
        "at_once": table([run.footprint for run in at_once]),
        "growth": table(resident),
        "seconds": table([seconds for _, seconds in found]),
        "error": table([estimate.value for estimate, _ in found]) - integrals(config.dimension)[0],
        "standard_error": table([estimate.standard_error for estimate, _ in found]),
    }


def _bounded_memory(method: str) -> Judge:
    def judge(dataset):
        at, n = dataset.sel({"method": method}), dataset.evaluations.values
        first = int(np.argmax(n >= 10**6))  # from a million points on every chunk is full
        chunked, whole, growth = at.chunked.values, at.at_once.values, at.growth.values
        each = (chunked[-1] - chunked[first]) / max(n[-1] - n[first], 1)
        return Finding(
            above(n[-1], 10**8) & less(each, 0.08) & less(growth, 2.0**26) & less(chunked[-1], whole[-1]),
            measured=f"{chunked[-1] / 1e6:.3g} MB compiled for {n[-1]} points, {each:.2g} B for each further one "
            f"(all at once {whole[-1] / 1e9:.3g} GB, growing like n^{measure.exponent(n, whole):.2f}); resident "
            f"memory grew by {growth.max() / 1e6:.3g} MB",
            figure="memory",
        )

    return judge


def _right_in_the_end(method: str) -> Judge:
    def judge(dataset):
        last = dataset.sel({"method": method}).isel(evaluations=-1)
        score = abs(float(last.error)) / float(last.standard_error)
        return Finding(
            above(float(last.evaluations), 10**8) & below(score, CHANCE),
            measured=f"{score:.2f} standard errors of {float(last.standard_error):.2g}",
        )

    return judge


def figures(dataset):
    figure, panels = style.subplots(width="column", height=2.9)
    told = lambda words: {m: {"label": f"{LABELS[m]['label']}, {words}"} for m in map(str, dataset.method.values)}
    common = {"x": "evaluations", "hue": "method", "log": "xy", "axes": panels, "legend": None}
    hollow = {"markerfacecolor": "w", "markeredgewidth": 1.0}
    style.chart(dataset.at_once / 1e6, looks=told("all at once"), slopes=1.0, **common, **hollow)
    style.chart(dataset.chunked / 1e6, looks=told("by chunks"), ylabel="memory (MB)", **common)
    panels.legend(loc="upper left", fontsize=6.5)
    figure.set_label("Memory for intermediate results, as compiled. Dashed: proportional to the number of points.")
    return {"memory": figure}


claims = {
    **{f"{method}-memory-is-bounded": _bounded_memory(method) for method in get_args(Method)},
    **{f"{method}-of-many-points-is-right": _right_in_the_end(method) for method in get_args(Method)},
}
