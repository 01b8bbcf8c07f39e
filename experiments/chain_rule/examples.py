"""What do textbook examples of derivatives come to?"""

import numpy as np

from jaxcalc import lab
from jaxcalc.lab import FACTS, Finding, below, close, equal, jax, jnp, judge_facts, less, pack_facts

kind = "host"


class Config(lab.Config):
    weight: float = 100.0
    """weight of the house-price example"""
    area: float = 1200.0
    """square feet of the house-price example, not scaled"""


VARIABLES = {**FACTS}


def run(config, key):
    from jax.nn import sigmoid

    slopes = lambda fun, *at: [float(jax.grad(fun)(float(x))) for x in at]
    square, bump = lambda x: x**2, lambda x: x**2 * jnp.exp(x)
    helper = lambda coefficient, exponent: [coefficient * exponent, exponent - 1]
    pull = jax.grad(lambda w, area: (sigmoid(w * area) - 1.0) ** 2)
    h = 2.0 ** -np.arange(1, 21)
    quotient = ((3.0 + h) ** 2 - 9.0) / h
    powers = (lambda x: x**3, lambda x: x, lambda x: 4.0 + 0 * x)
    return pack_facts(
        {
            "power-rule-cube-identity-constant": [slopes(fun, 1.7) for fun in powers],
            "quartic-derivative-values": slopes(lambda x: 3 * x**4 + 2 * x**2 - 7 * x + 5, 0, 1, 2),
            "power-rule-function-outputs": [helper(3, 4), helper(1, 0.5)],
            "house-quadratic-slope-at-100": slopes(lambda w: (w - 150) ** 2, 100),
            "x2-exp-derivative-printed-array": slopes(bump, 0, 1, 2),
            "x2-exp-derivative-at-1": slopes(bump, 1),
            "chain-sin-x2": slopes(lambda x: jnp.sin(x**2), 1),
            "chain-sigmoid-3x-plus-2": slopes(lambda x: sigmoid(3 * x + 2), 0, 1, 2),
            "square-table": [*map(square, range(-2, 3)), *slopes(square, *range(-2, 3))],
            # The slope at 3, and what the quotients with dyadic steps h differ from 6 + h.
            "square-first-principles": [*slopes(square, 3), *(quotient - (6.0 + h))],
            # The activation; the derivative by the weight as printed, and with numbers of size 1.
            "running-example-sigmoid-of-raw-price": [
                sigmoid(config.weight * config.area),
                pull(config.weight, config.area),
                pull(1e-3 * config.weight, 1e-3 * config.area),
            ],
            "five-derivatives-suffice": [len(_primitives()), _sign_changes()],
        }
    )


def _primitives():
    """What the reference table is made of, each primitive with a derivative rule of its own."""
    from jaxcalc.functions import rules
    from jaxcalc.programs import walk

    x = jax.ShapeDtypeStruct((), "float64")
    programs = [walk.trace(rules.table_entry(name).value, x) for name in rules.TABLE]
    names = {equation.name for program in programs for equation in program.everything()}
    return names - {"convert_element_type", "broadcast_in_dim"}


def _sign_changes():
    """How often the sine changes its sign on (0, 2000 pi], ends counted once."""
    signs = np.sign(np.sin((np.arange(4001) + 0.5) * np.pi / 2))
    return np.count_nonzero(signs[1:] * signs[:-1] < 0)


def _raw_price(numbers):
    activation, raw, scaled = numbers
    return Finding(
        less(0.0, abs(scaled)),
        limits=equal(activation, 1.0) & equal(raw, 0.0),
        measured=f"with areas in thousands and prices in millions a gradient of {scaled:.3g}; "
        f"as printed an activation of {activation:.17g} and a gradient of {raw:g}",
    )


def _five_suffice(numbers):
    needed, changes = numbers
    return Finding(
        below(needed, 5) & below(changes, 1),
        measured=f"the table needs {needed:g} rules; the sine changes its sign {changes:g} times",
    )


_PRINTED = (
    *("power-rule-cube-identity-constant", "quartic-derivative-values"),
    *("power-rule-function-outputs", "house-quadratic-slope-at-100"),
    *("x2-exp-derivative-printed-array", "x2-exp-derivative-at-1"),
    *("chain-sin-x2", "chain-sigmoid-3x-plus-2", "square-table"),
)

claims = judge_facts(
    {
        **dict.fromkeys(_PRINTED, close),
        "square-first-principles": lambda numbers: close(numbers[:1]) & equal(numbers[1:], 0.0),
        "running-example-sigmoid-of-raw-price": _raw_price,
        "five-derivatives-suffice": _five_suffice,
    }
)
