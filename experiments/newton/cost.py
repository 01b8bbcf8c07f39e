"""What one Newton step costs against the number of variables."""

import numpy as np
import pydantic

from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, NotJudged, Variable, close, equal, jax, jnp

kind = "timed"


class Config(lab.Config):
    """One Newton step on the chained Rosenbrock function of n variables."""

    n: int = pydantic.Field(64, ge=2)
    """Number of variables."""
    repeats: int = pydantic.Field(7, ge=1)
    """Readings of the clock."""
    blas_threads: int = pydantic.Field(1, ge=1)
    """Threads of the library that factors the matrix: with one, a busy machine does not bend the curve."""
    count_limit: int = pydantic.Field(256, ge=2)
    """Up to this n an inverse is computed by written-out elimination with its operations counted."""


VARIABLES = {
    "piece": Variable(("piece",), "", "piece of a Newton step", measured=False),
    "repeat": Variable(("repeat",), "", "reading", measured=False),
    "seconds": Variable(("piece", "repeat"), "s", "time of one call", measured=True),
    "gradient_operations": Variable((), "", "operations of the gradient, XLA's count", measured=False),
    "hessian_operations": Variable((), "", "operations of jax.hessian, XLA's count", measured=False),
    "solve_operations": Variable((), "", "operations of a Cholesky solve, by formula", measured=False),
    "solve_counted": Variable((), "", "operations of a Cholesky solve, counted", measured=False),
    "inverse_operations": Variable((), "", "operations of Gauss-Jordan's inverse, counted", measured=False),
    "solve_hidden": Variable((), "", "whether XLA's count misses the solve, a library call", measured=False),
}


def run(config, key):
    """Seconds and operations of a step's pieces: gradient, Hessian, solve."""
    from threadpoolctl import threadpool_limits

    from jaxcalc.functions import elimination, problems
    from jaxcalc.programs.compiled import executable
    from jaxcalc.solvers import newton, solve_positive

    problem = problems.rosenbrock(config.n)
    # Near the optimum, where the Hessian is positive definite.
    x = jnp.asarray(problem.optimum + 1e-3 * np.random.default_rng(0).standard_normal(config.n))
    gradient = executable(jax.grad(problem.function), x)
    hessian = executable(jax.hessian(problem.function), x)
    slope, matrix = gradient(x), hessian(x)
    solve = executable(solve_positive, matrix, slope)
    solver = newton(factorization="cholesky")
    at = solver.start(problem.function, x)
    step = executable(lambda at: solver.advance(problem.function, at), at)
    calls = {
        "gradient": lambda: gradient(x),
        "hessian": lambda: hessian(x),
        "solve": lambda: solve(matrix, slope),
        "step": lambda: step(at),
    }
    with threadpool_limits(config.blas_threads, user_api="blas"):
        timings = measure.interleave(calls, repeats=config.repeats)
    counted = config.n <= config.count_limit
    inverse = elimination.gauss_jordan_inverse(np.asarray(matrix)).operations if counted else np.nan
    solved = elimination.solve_cholesky(np.asarray(matrix), np.asarray(slope)).operations if counted else np.nan
    return {
        "piece": np.array(list(timings)),
        "repeat": np.arange(config.repeats),
        "seconds": np.stack([timing.samples for timing in timings.values()]),
        "gradient_operations": gradient.flops,
        "hessian_operations": hessian.flops,
        "solve_operations": float(elimination.cholesky_operations(config.n)),
        "solve_counted": float(solved),
        "inverse_operations": float(inverse),
        "solve_hidden": len(solve.opaque) > 0,
    }


def figures(dataset):
    """Operations and seconds against n, the slopes 1, 2 and 3 beside them."""
    if "n" not in dataset.dims or dataset.sizes["n"] < 2:
        return {}
    looks = {
        "gradient": {"color": style.COLORS["blue"], "marker": "o", "label": "gradient"},
        "hessian": {"color": style.COLORS["green"], "marker": "^", "label": "Hessian"},
        "solve": {"color": style.COLORS["vermilion"], "marker": "s", "label": "solve"},
        "step": {"color": style.COLORS["black"], "marker": "D", "label": "whole step"},
    }
    powers = {"gradient": 1, "hessian": 2, "solve": 3}
    counts = {piece: dataset[f"{piece}_operations"] for piece in powers}
    figure, panels = style.subplots(1, 2, width="page", height=3.0)
    common = {"looks": looks, "log": "xy", "xlabel": "variables n"}
    style.chart(counts, "n", axes=panels[0], slopes=powers, ylabel="operations", legend="ends", **common)
    style.chart(
        dataset.seconds.sortby("n"),
        "n",
        hue="piece",
        axes=panels[1],
        slopes={"solve": 3},
        ylim=(float(dataset.seconds.min()) / 2, float(dataset.seconds.max()) * 2),
        ylabel="time (s)",
        legend="ends",
        **common,
    )
    figure.set_label(
        "One Newton step in n variables: operations by count, and time (median and quartiles). Dashed: powers "
        "of n, in a 1, 2 and 3, in b 3."
    )
    return {"cost": figure}


_slope = lambda n, cost: np.polyfit(np.log(n), np.log(cost), 1)[0]


def _sizes(dataset, least, *pieces):
    """Sizes from the least on that were counted, and the operations of some pieces of a step there."""
    dataset = dataset.sortby("n")
    n = dataset["n"].values.astype(float)
    used = (n >= least) & (n <= float(dataset["count_limit"]))
    if used.sum() < 2 or n[used][-1] < 2 * n[used][0]:
        raise NotJudged(f"it takes sizes from {least} on over a factor of two")
    return [n[used], *(dataset[piece].values[used] for piece in pieces)]


def _cubic(dataset):
    # Below 32 the lower powers of n show in the exponent.
    n, inverse = _sizes(dataset, 32, "inverse_operations")
    exponent = _slope(n, inverse)
    return Finding(
        close(exponent, 3.0, 0.05),
        measured=f"{exponent:.3f} for n = {n[0]:g} to {n[-1]:g}",
        figure="cost",
        note="Counted while the elimination ran.",
    )


def _huge(dataset):
    from jaxcalc.functions.elimination import gauss_jordan_operations

    n, inverse = _sizes(dataset, 32, "inverse_operations")
    power, count = _slope(n, inverse), gauss_jordan_operations(10**8)
    return Finding(
        equal(inverse, [gauss_jordan_operations(int(size)) for size in n]) & equal(10.0 ** (8 * round(power)), 1e24),
        measured=f"n^{round(power)} = {10.0 ** (8 * round(power)):.12g}; Gauss-Jordan {count:.6g}, "
        f"{count / 1e15 / 3.156e7:.0f} years at 1e15 a second",
    )


def _solve_bound(dataset):
    pieces = ("gradient_operations", "hessian_operations", "solve_counted")
    n, *counts = _sizes(dataset, 64, *pieces)
    exponents = [_slope(n, count) for count in counts]
    return Finding(
        close(exponents, [1.0, 2.0, 3.0], 0.1),
        measured=", ".join(f"{value:.2f}" for value in exponents) + f" for n = {n[0]:g} to {n[-1]:g}",
        figure="cost",
    )


claims = {
    "hessian-inversion-cubic": _cubic,
    "newton-1e24-operations": _huge,
    "newton-step-is-solve-bound": _solve_bound,
}
