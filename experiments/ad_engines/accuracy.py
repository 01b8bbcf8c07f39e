"""How accurate is each engine on the same function?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, jax, jnp

kind = "host"


class Config(lab.Config):
    points: int = pydantic.Field(50, ge=2)
    """points at which sin(x) e^x / (1 + x^2) is differentiated"""


VARIABLES = {
    "engine": Variable(("engine",), "", "what differentiates"),
    "x": Variable(("x",), "", "where"),
    "derivative": Variable(("x",), "", "the derivative, from 40 digits"),
    "scaled_error": Variable(("engine", "x"), "", "error over the sizes of derivative and function"),
}


def _wave(m):
    """The function in the words of a module that has sin and exp."""
    return lambda x: m.sin(x) * m.exp(x) / (1 + x * x)


def run(config, key):
    import sympy

    from jaxcalc.engines import dual, finite_differences, symbolic, tape

    x = jnp.linspace(-3.0, 3.0, config.points)
    wave = _wave(jnp)
    difference = lambda scheme: finite_differences.derivative(wave, scheme=scheme)
    routes = {
        "jax forward": lambda x: jax.jvp(wave, (x,), (jnp.ones_like(x),))[1],
        "jax reverse": jax.grad(wave),
        "dual": dual.derivative(_wave(dual)),
        "tape": tape.gradient(_wave(tape)),
        "symbolic": symbolic.derivative(_wave(sympy)),
        "complex step": difference("complex step"),
        "richardson": difference("richardson"),
        "central": difference("central"),
    }
    symbol = sympy.Symbol("x", real=True)
    formula = _wave(sympy)(symbol)
    slope = formula.diff(symbol)
    # Points are exact rationals: 40 digits make the reference's own rounding vanish.
    at = [sympy.Rational(float(v)) for v in x]
    digits = lambda f: [sympy.N(f.subs(symbol, v), 40) for v in at]
    true, size = digits(slope), [abs(float(v)) for v in digits(formula)]
    error = np.array(
        [[abs(float(sympy.Float(float(got), 40) - t)) for got, t in zip(jax.vmap(f)(x), true)] for f in routes.values()]
    )
    scale = np.array([abs(float(t)) + s for t, s in zip(true, size)])
    return {
        "engine": np.array(list(routes)),
        "x": x,
        "derivative": np.array(list(map(float, true))),
        "scaled_error": error / scale,
    }


def _judge_rounding(dataset):
    worst = dataset.scaled_error.max("x", skipna=False)
    exact = ["jax forward", "jax reverse", "dual", "tape"]
    return Finding(
        below(dataset.scaled_error.sel(engine=exact)) & above(dataset.scaled_error, 0.0),
        measured=", ".join(f"{name} {float(worst.sel(engine=name)):.2g}" for name in [*exact, "central"]),
    )


def figures(dataset):
    """Every error as a point, one row an engine, in the order of x."""
    figure, axis = style.subplots(width=4.8, height=2.9)
    names, spread = dataset.engine.values.tolist(), np.linspace(-0.28, 0.28, dataset.sizes["x"])
    eps, least = np.finfo(float).eps, 3e-18
    for place, name in enumerate(names):
        error = dataset.scaled_error.sel(engine=name).values
        tiny, look = error < least, style.method(name, linestyle="", markersize=2.5)
        axis.plot(np.where(tiny, np.nan, error), place + spread, **look)
        style.mark_left(axis, (place + spread)[tiny], look)
    axis.axvline(eps, **style.THEORY)
    axis.annotate("eps", (eps, -0.5), (3, 1), textcoords="offset points", va="top")
    style.name_rows(axis, names)
    axis.set(xscale="log", xlim=(least, None), xlabel="error of the derivative / (|f'| + |f|)")
    figure.set_label(
        "Every engine on sin(x) e^x / (1 + x^2) in float64, against 40 digits; each point is one x, hollow at the "
        "left edge where the error is below 3e-18."
    )
    return {"accuracy": figure}


claims = {"ad-exact-to-rounding": _judge_rounding}
