"""What do textbook examples of derivatives come to?"""

import functools

import numpy as np

from experiments.chain_rule import derivative_rules
from jaxcalc import lab
from jaxcalc.lab import Finding, Variable, below, close, equal, less

kind = "host"
dtype = "float64"


class Config(lab.Config):
    weight: float = 100.0
    """weight of the house-price example"""
    area: float = 1200.0
    """square feet of the house-price example, not scaled"""


VARIABLES = {
    "example": Variable(("example",), "", "the claim"),
    "measured": Variable(("example", "place"), "", "the numbers that it is about"),
    "step": Variable(("step",), "", "dyadic step h"),
    "quotient_residual": Variable(("step",), "", "difference quotient of x^2 at 3 less 6 + h"),
    "activation": Variable((), "", "sigmoid of weight times area"),
    "gradient": Variable((), "", "derivative of the squared error by the weight"),
    "scaled_gradient": Variable((), "", "the same in thousands of square feet and millions of the price's unit"),
    "rules_needed": Variable((), "", "primitives with a derivative rule behind the reference table"),
    "sign_changes": Variable((), "", "of the sine on (0, 2000 pi]"),
}


def _examples():
    """Claim -> the numbers that it prints."""
    import jax
    import jax.numpy as jnp
    from jax.nn import sigmoid

    slopes = lambda fun, at: [float(jax.grad(fun)(float(x))) for x in at]
    helper = lambda coefficient, exponent: [coefficient * exponent, exponent - 1]
    bump = lambda x: x**2 * jnp.exp(x)
    return {
        "power-rule-cube-identity-constant": lambda: [
            *slopes(lambda x: x**3, [1.7]),
            *slopes(lambda x: x, [1.7]),
            *slopes(lambda x: 4.0 + 0 * x, [1.7]),
        ],
        "quartic-derivative-values": lambda: slopes(lambda x: 3 * x**4 + 2 * x**2 - 7 * x + 5, (0, 1, 2)),
        "power-rule-function-outputs": lambda: [*helper(3, 4), *helper(1, 0.5)],
        "house-quadratic-slope-at-100": lambda: slopes(lambda w: (w - 150) ** 2, [100]),
        "x2-exp-derivative-printed-array": lambda: slopes(bump, (0, 1, 2)),
        "x2-exp-derivative-at-1": lambda: slopes(bump, [1]),
        "chain-sin-x2": lambda: slopes(lambda x: jnp.sin(x**2), [1]),
        "chain-sigmoid-3x-plus-2": lambda: slopes(lambda x: sigmoid(3 * x + 2), (0, 1, 2)),
        "square-table": lambda: [*(float(x) ** 2 for x in range(-2, 3)), *slopes(lambda x: x**2, range(-2, 3))],
        "square-first-principles": lambda: slopes(lambda x: x**2, [3]),
    }


def run(config, key):
    import jax
    from jax.nn import sigmoid

    found = {name: make() for name, make in _examples().items()}
    widest = max(map(len, found.values()))
    padded = [np.pad(np.asarray(v, float), (0, widest - len(v)), constant_values=np.nan) for v in found.values()]
    steps = 2.0 ** -np.arange(1, 21)
    quotient = ((3.0 + steps) ** 2 - 9.0) / steps
    pull = jax.grad(lambda w, area: (sigmoid(w * area) - 1.0) ** 2)
    return {
        "example": np.array(list(found)),
        "measured": np.stack(padded),
        "step": steps,
        "quotient_residual": abs(quotient - (6.0 + steps)),
        "activation": np.asarray(sigmoid(config.weight * config.area)),
        "gradient": np.asarray(pull(config.weight, config.area)),
        "scaled_gradient": np.asarray(pull(1e-3 * config.weight, 1e-3 * config.area)),
        "rules_needed": np.asarray(len(_primitives())),
        "sign_changes": np.asarray(_sign_changes()),
    }


def _primitives() -> set[str]:
    """The primitives that the functions of the reference table are made of, each with a derivative rule of its own."""
    import jax

    from jaxcalc.programs import walk

    found: set[str] = set()
    for claim, cases in derivative_rules().items():
        if claim.startswith("table-derivative-"):
            for fun, *_ in cases:
                program = walk.trace(fun, jax.ShapeDtypeStruct((), "float64"))
                found |= {equation.name for equation in program.everything()}
    return found - {"convert_element_type", "broadcast_in_dim"}


def _sign_changes() -> int:
    """How often the sine changes its sign on (0, 2000 pi], ends counted once."""
    x = (np.arange(4001) + 0.5) * np.pi / 2
    signs = np.sign(np.sin(x))
    return int(np.count_nonzero(signs[1:] * signs[:-1] < 0))


def _printed(claim, dataset):
    """The numbers of an example; how many they are is the ledger's."""
    return close(dataset.measured.sel(example=claim).dropna("place"))


def _first_principles(dataset):
    return _printed("square-first-principles", dataset) & equal(dataset.quotient_residual, 0.0)


def _raw_price(dataset):
    raw, scaled = float(dataset.gradient), float(dataset.scaled_gradient)
    return Finding(
        less(0.0, abs(scaled)),
        limits=equal(dataset.activation, 1.0) & equal(raw, 0.0),
        measured=f"with areas in thousands and prices in millions a gradient of {scaled:.3g}; as printed "
        f"an activation of {float(dataset.activation):.17g} and a gradient of {raw:g}",
    )


def _five_suffice(dataset):
    needed, changes = float(dataset.rules_needed), float(dataset.sign_changes)
    return Finding(
        below(needed, 5) & below(changes, 1),
        measured=f"the table needs {needed:g} rules; the sine changes its sign {changes:g} times",
    )


_EXAMPLES = (
    "power-rule-cube-identity-constant",
    "quartic-derivative-values",
    "power-rule-function-outputs",
    "house-quadratic-slope-at-100",
    "x2-exp-derivative-printed-array",
    "x2-exp-derivative-at-1",
    "chain-sin-x2",
    "chain-sigmoid-3x-plus-2",
    "square-table",
)

claims = {
    **{claim: functools.partial(_printed, claim) for claim in _EXAMPLES},
    "square-first-principles": _first_principles,
    "running-example-sigmoid-of-raw-price": _raw_price,
    "five-derivatives-suffice": _five_suffice,
}
