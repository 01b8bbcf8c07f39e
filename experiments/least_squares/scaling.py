"""What do a feature's units cost: the condition number, the steps of descent, the slope of a sigmoid?

The price of 546 houses by their area, a line with an intercept. The closed form does not mind the units; gradient
descent and a unit that is fed with the feature do.
"""

import bisect

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close

kind = "host"


class Config(lab.Config):
    tolerance: float = pydantic.Field(1e-6, gt=0, lt=1)
    """loss above its minimum, over that at the start, which descent is to reach"""
    num_steps: int = pydantic.Field(10_000, ge=1)
    """steps taken at most; more are told by theory alone"""


VARIABLES = {
    "scaling": Variable(("scaling",), "", "what is done to the area"),
    "condition_number": Variable(("scaling",), "", "of the loss's Hessian"),
    "steps": Variable(("scaling",), "", "steps of descent to the tolerance, counted; -1 if there are more"),
    "predicted_steps": Variable(("scaling",), "", "the same by the quadratic's own factors"),
    "slope": Variable(("scaling", "house"), "", "slope of a sigmoid of the area, at weight 1"),
    "fitted": Variable(("scaling", "house"), "CA$", "fitted price"),
    "price": Variable(("house",), "CA$", "price paid"),
}


def _steps(problem, config):
    """Steps of descent at the rate 1/L until the loss is within the tolerance: counted, and by theory."""
    from jaxcalc.solvers import gradient_descent, iterate, steps_to

    curvatures, vectors = problem.curvatures()
    rate = 1 / curvatures[-1]
    descent = iterate(
        gradient_descent(rate),
        problem.function,
        problem.start,
        num_steps=config.num_steps,
        record=lambda at: at.value - problem.minimum,
    )
    counted = steps_to(descent.history / descent.history[0], config.tolerance)
    share = curvatures * (vectors.T @ (problem.start - problem.optimum)) ** 2
    left = lambda k: (share * (1 - rate * curvatures) ** (2 * k)).sum() / share.sum()
    return counted, bisect.bisect_left(range(10**15), True, key=lambda k: left(k) <= config.tolerance)


def run(config, key):
    from jaxcalc.functions import datasets, problems
    from jaxcalc.functions.activations import sigmoid

    houses = datasets.houses()
    area = houses.column("lotsize")
    center, deviation = area.mean(), area.std()
    features = {
        "square feet": area,
        "centred": area - center,
        "thousands": area / 1000,
        "over deviation": area / deviation,
        "standardised": (area - center) / deviation,
    }
    designs = [np.column_stack([feature, np.ones_like(area)]) for feature in features.values()]
    fits = [problems.least_squares(name, design, houses.price) for name, design in zip(features, designs)]
    steps, predicted = zip(*(_steps(problem, config) for problem in fits))
    curvatures = [problem.curvatures()[0] for problem in fits]
    return {
        "scaling": np.array(list(features)),
        "condition_number": np.array([most / least for least, most in curvatures]),
        "steps": np.array(steps),
        "predicted_steps": np.array(predicted, float),
        "slope": sigmoid.derivative(np.stack(list(features.values()))),
        "fitted": np.stack([design @ problem.optimum for design, problem in zip(designs, fits)]),
        "price": houses.price,
    }


def _ends(array):
    """Before and after standardising."""
    return array.sel(scaling="square feet"), array.sel(scaling="standardised")


def _condition(dataset):
    raw, standard = _ends(dataset.condition_number)
    return Finding(
        close({"standardised": standard}) & above(raw, 1e7),
        measured=f"{float(raw):.2g} in square feet, {float(standard):.3g} standardised",
    )


def _descent(dataset):
    counted, predicted = dataset.steps.values, dataset.predicted_steps.values
    reached = ~(counted < 0)
    raw, standard = _ends(dataset.predicted_steps)
    return Finding(
        close(counted[reached], predicted[reached], 1.0) & close(standard, 1.0, 0.0) & above(raw, 1e6),
        measured=", ".join(f"{name} {k:.3g}" for name, k in zip(dataset.scaling.values, predicted)),
    )


def _saturates(dataset):
    raw, standard = _ends(dataset.slope)
    middle = standard.median("house", skipna=False)
    return Finding(
        below(raw, 1e-100) & above(middle, 0.1),
        measured=f"largest slope {float(raw.max()):g} in square feet, median {float(middle):.2g} standardised",
    )


def _same_fit(dataset):
    apart = abs(dataset.fitted - dataset.fitted.sel(scaling="square feet")) / dataset.price
    return Finding(below(apart), measured=f"fitted prices {float(apart.max()):.2g} apart at most, relative")


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=3.0)
    reached = dataset.steps.where(dataset.steps >= 0)
    style.chart(
        {
            "condition number": dataset.condition_number,
            "steps, by theory": dataset.predicted_steps,
            "steps, counted": reached,
        },
        "scaling",
        looks={"steps, by theory": {"markersize": 8, "alpha": 0.5}},
        log="y",
        linestyle="",
        axes=left,
        legend="upper right",
        xlabel="",
        ylabel="condition number, steps",
        ylim=(0.5, 1e11),
    )
    share = 100 * (np.arange(dataset.sizes["house"]) + 0.5) / dataset.sizes["house"]
    slope = dataset.slope.copy(data=np.sort(dataset.slope, axis=1)).assign_coords(house=share)
    style.chart(
        slope,
        "house",
        hue="scaling",
        axes=right,
        legend="ends",
        xlabel="houses with a smaller slope (%)",
        ylabel="slope of the sigmoid",
        ylim=(-0.008, 0.258),
    )
    figure.set_label(
        "The price of 546 houses by their area. a: the condition number, and the steps of gradient descent to the "
        "tolerance, counted where they are few. b: the slope of a sigmoid that is fed with the area: 0 for every house "
        "in square feet."
    )
    return {"scaling": figure}


claims = {
    "standardised-feature-has-condition-one": _condition,
    "standardising-saves-steps": _descent,
    "raw-feature-saturates-a-sigmoid": _saturates,
    "fit-does-not-depend-on-units": _same_fit,
}
