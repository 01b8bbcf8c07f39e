"""How do formulas swell, and which programs have none?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close, equal, holds, jax, less

kind = "host"


class Config(lab.Config):
    depth: int = pydantic.Field(6, ge=3, le=8)
    """turns of the logistic map"""
    factors: int = pydantic.Field(10, ge=2)
    """variables whose product is differentiated by each"""


VARIABLES = {
    "depth": Variable(("depth",), "", "turns of the logistic map"),
    "value_operations": Variable(("depth",), "", "operations of the function's formula"),
    "derivative_operations": Variable(("depth",), "", "operations of the derivative's formula"),
    "shared_operations": Variable(("depth",), "", "operations of the derivative's formula, equal parts once"),
    "program_size": Variable(("depth",), "", "operations of the reverse-mode program"),
    "product_operations": Variable(
        ("count",), "", "operations of a product: its value, all partials, all partials with equal parts once"
    ),
    "program": Variable(("program",), "", "what is to become a formula"),
    "has_formula": Variable(("program",), "", "whether it became one"),
    "slope_gap": Variable(("program",), "", "distance of the formula's slope; none where there is no formula"),
    "loop_by_program": Variable(("pair",), "", "slope of the loop as it runs, and in closed form"),
}


def _logistic(x, turns):
    for _ in range(turns):
        x = 4 * x * (1 - x)
    return x


def _until(x):
    while x < 10:
        x = x * x + 1
    return x


def run(config, key):
    import sympy

    from jaxcalc.engines import dual, symbolic
    from jaxcalc.programs import walk

    depths = range(1, config.depth + 1)
    x = sympy.Symbol("x")
    grown = symbolic.growth(lambda k: _logistic(x, k), depths)
    scalar = jax.ShapeDtypeStruct((), "float64")
    sizes = [len(walk.trace(jax.grad(lambda v, k=k: _logistic(v, k)), scalar).equations) for k in depths]
    names = sympy.symbols(f"v:{config.factors}")
    product = sympy.Mul(*names)
    partials = [product.diff(name) for name in names]

    def formula_of(fun, at):
        # Whether there is a formula, and the distance of its slope from the program's.
        try:
            slope = symbolic.derivative(fun)
        except TypeError:
            return False, np.nan
        return True, abs(float(slope(at)) - float(dual.derivative(fun)(at)))

    s = sympy.Symbol("x", real=True)
    branch = symbolic.derivative(sympy.Piecewise((s**2, s > 0), (0, True)))
    found = [
        formula_of(_until, 1.5),
        formula_of(lambda x: _logistic(x, 3), 0.3),
        (True, max(abs(float(branch(0.7)) - 1.4), abs(float(branch(-0.7))))),
    ]
    return {
        "depth": grown.depth,
        "value_operations": grown.value,
        "derivative_operations": grown.derivative,
        "shared_operations": grown.shared_derivative,
        "program_size": np.array(sizes),
        "product_operations": np.array(
            [symbolic.operations(product), symbolic.operations(*partials), symbolic.operations(*partials, shared=True)]
        ),
        "program": np.array(["loop until a value", "loop of fixed length", "branch, as Piecewise"]),
        "has_formula": np.array([has for has, _ in found]),
        "slope_gap": np.array([gap for _, gap in found]),
        # The same loop as a program, differentiated as it runs; 4 x^3 + 4 x after two turns of x^2 + 1.
        "loop_by_program": np.array([float(dual.derivative(_until)(1.5)), 4 * 1.5**3 + 4 * 1.5]),
    }


def _judge_swell(dataset):
    f, d, program = (dataset[name].values for name in ("value_operations", "derivative_operations", "program_size"))
    ratio, steps = d / f, np.diff(program)
    one, partials, together = dataset.product_operations.values
    return Finding(
        less(1.0, ratio[1:])
        & less(ratio[:-1], ratio[1:])
        & equal(steps, steps[0])
        & less(one, partials)
        & above([f, d, program], 1),
        measured=f"(f, f') operations {[*zip(f.tolist(), d.tolist())]}, programs {program.tolist()}; product: "
        f"{one} for the value, {partials} for all partials, {together} with equal parts shared",
    )


def _judge_formulas(dataset):
    loop, others = dataset.sel(program="loop until a value"), dataset.drop_sel(program="loop until a value")
    by_program, exact = dataset.loop_by_program.values
    return Finding(
        ~holds(loop.has_formula) & close(by_program, exact, 8 * np.finfo(float).eps, relative=True),
        limits=holds(others.has_formula) & below(others.slope_gap, 1e-12),
        measured=f"a loop until a value has no formula (as a program its slope is {by_program:g}); a loop of fixed "
        f"length and a Piecewise are right to {others.slope_gap.values.max():.2g}",
    )


_CURVES = {
    "derivative as a formula": ("derivative_operations", "vermilion", "s"),
    "function as a formula": ("value_operations", "black", "o"),
    "derivative, equal parts once": ("shared_operations", "orange", "D"),
    "reverse-mode program": ("program_size", "blue", "^"),
}


def figures(dataset):
    figure, _ = style.chart(
        {label: dataset[name] for label, (name, *_) in _CURVES.items()},
        "depth",
        looks={label: {"color": style.COLORS[c], "marker": m} for label, (_, c, m) in _CURVES.items()},
        log="y",
        ylabel="operations",
        legend="upper left",
        width=4.6,
        height=2.9,
    )
    figure.set_label("Formulas swell with the depth of a program, its derivative as a program does not.")
    return {"growth": figure}


claims = {"symbolic-expression-swell": _judge_swell, "symbolic-fails-on-programs": _judge_formulas}
