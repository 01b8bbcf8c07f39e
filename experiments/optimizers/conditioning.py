"""What does bad conditioning cost each method, and does Adam's scaling mend it?"""

from typing import Any, Literal

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, jax, jnp, less

kind = "host"

_ADAM_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
_TOLERANCE = 1e-8


class Config(lab.Config):
    condition_numbers: tuple[float, ...] = (3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4)
    """largest over smallest curvature of the bowl, rising"""
    methods: tuple[Literal["gradient-descent", "momentum", "nesterov", "adam", "l-bfgs"], ...] = (
        *("gradient-descent", "momentum", "nesterov", "adam", "l-bfgs"),
    )
    """methods of minimisation; gradient descent and Adam for the claim"""
    max_steps: int = pydantic.Field(50_000, ge=100)
    """steps at most"""


VARIABLES = {
    "method": Variable(("method",), "", "method of minimisation"),
    "orientation": Variable(("orientation",), "", "of the bowl's axes to the coordinates"),
    "condition_number": Variable(("condition_number",), "", "largest over smallest curvature"),
    "steps": Variable(("method", "orientation", "condition_number"), "", "to 1e-8 of the first loss, or -1"),
    "adam_rate": Variable(("adam_rate",), "", "rate of Adam"),
    "adam_steps": Variable(("orientation", "condition_number", "adam_rate"), "", "the same for every rate of Adam"),
    "contraction": Variable(
        ("accelerated", "condition_number"), "", "factor a step by theory: gradient descent, momentum, Nesterov"
    ),
}


def run(config, key):
    from jaxcalc.functions import problems
    from jaxcalc.solvers import (
        adam,
        best_learning_rate,
        best_momentum,
        best_nesterov,
        gradient_descent,
        lbfgs,
        minimize,
        momentum,
        nesterov,
        steps_to,
    )

    # Theory knows the best numbers of three methods; Adam's rate is the best of several, L-BFGS has none.
    families: dict[str, tuple[Any, Any]] = {
        "gradient-descent": (lambda kappa, _: gradient_descent(best_learning_rate(1.0, kappa)), None),
        "momentum": (lambda kappa, _: momentum(*best_momentum(1.0, kappa)), None),
        "nesterov": (lambda kappa, _: nesterov(*best_nesterov(1.0, kappa)), None),
        "adam": (lambda kappa, rate: adam(rate), _ADAM_RATES),
        "l-bfgs": (lambda kappa, _: lbfgs(), None),
    }
    kappas, angles = jnp.asarray(config.condition_numbers, float), jnp.array([0.0, jnp.pi / 4])

    def counted(build, angle, kappa, rate):
        # The start turns with the bowl: both coordinates along its axes are 1.
        start = jnp.stack([jnp.cos(angle) - jnp.sin(angle), jnp.sin(angle) + jnp.cos(angle)])
        solution = minimize(
            problems.elongated_bowl,
            start,
            kappa,
            angle,
            method=build(kappa, rate),
            tol=1e-5,  # |f| <= |grad f|^2 / 2 with a least curvature of 1: the loss is then below the tolerance
            max_steps=config.max_steps,
            history="full",
        )
        assert solution.history is not None
        value = solution.history["value"]
        return steps_to(value / value[0], _TOLERANCE)

    found = {}
    for name in config.methods:
        build, rates = families[name]
        count = lambda angle, kappa, rate, build=build: counted(build, angle, kappa, rate)
        by_rate = jax.vmap(jax.vmap(jax.vmap(count, (None, None, 0)), (None, 0, None)), (0, None, None))
        found[name] = np.asarray(jax.jit(by_rate)(angles, kappas, jnp.asarray(rates or (1.0,), float)))
    least = lambda steps: np.where((steps > 0).any(-1), np.where(steps > 0, steps, np.iinfo(np.int32).max).min(-1), -1)
    return {
        "method": np.array(list(found)),
        "orientation": np.array(["along the axes", "turned by 45°"]),
        "condition_number": np.asarray(kappas),
        "steps": np.stack([least(steps) for steps in found.values()]),
        "adam_rate": np.array(_ADAM_RATES),
        "adam_steps": found.get("adam", np.full((2, len(kappas), len(_ADAM_RATES)), -1)),
        "contraction": np.stack(
            [(kappas - 1) / (kappas + 1), jnp.sqrt(best_momentum(1.0, kappas)[1]), 1 - 1 / jnp.sqrt(kappas)]
        ),
    }


def _preconditions(dataset):
    worst = dataset.isel(condition_number=-1)
    adam, (plain, _) = (worst.steps.sel({"method": m}).values for m in ("adam", "gradient-descent"))
    aligned, turned = adam
    if not (float(worst.condition_number) >= 1e4 and plain > 0):
        raise NotJudged("needs a condition number of 1e4, on which gradient descent arrives")
    # A fix: tens of times fewer steps, and no more than a few times those of the best conditioning.
    best = dataset.steps.sel({"method": "adam"})[0, 0]
    return Finding(
        less(0, aligned) & less(10 * aligned, plain) & less(aligned, 10 * best),
        limits=less(turned, 0) | less(10 * aligned, turned),
        measured=f"{aligned:g} steps along the axes, {turned:g} turned by 45 degrees; gradient descent {plain:g}",
    )


def figures(dataset):
    steps = dataset.steps.where(dataset.steps > 0)
    theory = np.log(_TOLERANCE**0.5) / np.log(dataset.contraction)
    figure, _ = style.chart(
        steps,
        "condition_number",
        hue="method",
        col="orientation",
        theory={str(k): theory.isel(accelerated=k) for k in range(3)},
        titles={name: f"Bowl {name}" for name in dataset.orientation.values.tolist()},
        log="xy",
        width="page",
        height=3.1,
        legend="below",
        xlabel="condition number",
        ylabel=r"steps to $10^{-8}$ of the first loss",
        letters=True,
    )
    figure.set_label(
        "Steps against the condition number of a bowl in two variables, every method at its best numbers: by theory, "
        "or for Adam the best of six rates. Adam scales coordinates, so it helps a bowl along the axes alone. Dashed: "
        "theory of gradient descent, momentum and Nesterov, without the transient."
    )
    return {"conditioning": figure}


claims = {"adam-preconditions-ill-conditioning": _preconditions}
