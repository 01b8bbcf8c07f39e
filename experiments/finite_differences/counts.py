"""How many evaluations of the function does a gradient by differences take?"""

import functools

import numpy as np

from experiments.finite_differences import evaluations
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, close

kind = "host"


class Config(lab.Config):
    sizes: tuple[int, ...] = (10, 100, 1000)
    """numbers of parameters"""


VARIABLES = {
    "parameters": Variable(("parameters",), "", "number of parameters n"),
    "central_calls": Variable(("parameters",), "", "evaluations for a central gradient, counted"),
    "forward_calls": Variable(("parameters",), "", "evaluations for a forward gradient, counted"),
}


def run(config, key):
    from jaxcalc.engines import finite_differences

    gradient = lambda scheme: functools.partial(finite_differences.gradient, scheme=scheme)
    calls = lambda scheme: np.array([evaluations(gradient(scheme), n) for n in config.sizes])
    return {
        "parameters": np.array(config.sizes),
        "central_calls": calls("central"),
        "forward_calls": calls("forward"),
    }


def _judge_central_calls(dataset):
    n, calls = dataset.parameters.values, dataset.central_calls.values
    per_parameter = np.polyfit(n, calls, 1)[0]
    return Finding(
        close({"evals_per_parameter": calls / n, "n_1e6": np.rint(1e6 * per_parameter)}),
        measured=dict(zip(map(str, n), calls.tolist())),
    )


def _judge_forward_calls(dataset):
    n, calls = dataset.parameters.values, dataset.forward_calls.values
    counted = ", ".join(f"{size}: {count}" for size, count in zip(n, calls))
    return Finding(
        close({"evals": np.rint(np.polyval(np.polyfit(n, calls, 1), 1e8))}),
        measured=f"{counted}; one for each parameter and one to start from",
    )


def figures(dataset):
    n, told = dataset.parameters, "evaluations of the function"
    counts = {"central": dataset.central_calls, "forward": dataset.forward_calls}
    theory = {"central": 2 * n, "forward": n + 1}
    figure, _ = style.chart(counts, theory=theory, log="xy", linestyle="", legend="upper left", ylabel=told)
    figure.set_label("Evaluations that a gradient by differences takes. Dashed: 2 n and n + 1.")
    return {"calls": figure}


claims = {
    "central-difference-costs-2n-evals": _judge_central_calls,
    "nudge-test-needs-one-pass-per-parameter": _judge_forward_calls,
}
