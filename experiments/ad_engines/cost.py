"""What does each engine's gradient cost, in operations?"""

import numpy as np
import pydantic

from jaxcalc import lab, measure, style
from jaxcalc.lab import Finding, Variable, above, below, equal, jax, jnp, less

kind = "host"

_PRICED = ("jax reverse", "tape", "jax forward", "dual", "central")


class Config(lab.Config):
    sizes: tuple[int, ...] = (4, 16, 64, 256)
    """numbers of inputs of the function whose gradient is priced"""
    partials: int = pydantic.Field(50, ge=2)
    """inputs of the function whose evaluations are counted"""


VARIABLES = {
    "n": Variable(("n",), "", "inputs of the function"),
    "route": Variable(("route",), "", "what differentiates"),
    "relative_cost": Variable(("n", "route"), "", "operations over those of the function"),
    "setting": Variable(("setting",), "", "a use of derivatives in machine learning"),
    "forward_over_reverse": Variable(("setting",), "", "operations with forward mode over reverse mode alone"),
    "product_method": Variable((), "", "the route that the planner takes for a Hessian-vector product"),
    "num_partials": Variable((), "", "inputs of the function whose evaluations are counted"),
    "calls": Variable(("pass",), "", "passes forward, passes back, function values of central differences"),
    "right_partials": Variable((), "", "partial derivatives that the one pass back gave"),
}


def _layer(m, weights):
    """A layer of tanh, summed, in the words of an engine."""
    return lambda x: m.sum(m.tanh(m.matmul(weights, x)))


def _operations(fun, *args):
    from jaxcalc.programs import cost

    found = cost(fun, *args)
    return found.flops + found.transcendentals


def _evaluations(n: int) -> list[int]:
    """Forward passes and pullbacks of one reverse gradient, and function values of a central one, all counted."""
    from jaxcalc.engines import finite_differences

    plain = lambda x: jnp.sum(jnp.sin(x)).astype("float32")
    slope = lambda x, g: (g * jnp.cos(x)).astype(x.dtype)
    forward, num_forward = measure.count_calls(plain)
    passed, num_backward = measure.count_calls(lambda g: g)
    sampled, num_sampled = measure.count_calls(plain)
    loss = jax.custom_vjp(plain)
    loss.defvjp(lambda x: (forward(x), x), lambda x, g: (slope(x, passed(g)),))
    x = jnp.linspace(0.0, 1.0, n)
    gradient = jax.jit(jax.value_and_grad(loss))(x)[1]
    jax.block_until_ready((gradient, jax.jit(finite_differences.gradient(sampled))(x)))
    right = int(np.count_nonzero(abs(np.asarray(gradient) - np.cos(np.asarray(x))) < 1e-6))
    return [*num_forward, *num_backward, *num_sampled, right]


def _settings() -> tuple[dict[str, float], str]:
    """Operations with forward mode over those by reverse mode alone, in uses of derivatives; the planner's product."""
    from jaxcalc import hvp, plan

    weights = [jnp.ones((2, 16)) / 4, jnp.ones((16, 16)) / 16, jnp.ones((16, 1)) / 4]
    points, targets = jnp.ones((32, 2)), jnp.ones((32, 1))

    def network(weights, x):
        for w in weights[:-1]:
            x = jnp.tanh(x @ w)
        return x @ weights[-1]

    loss = lambda weights: jnp.mean((network(weights, points) - targets) ** 2)
    # The sensitivities of the network's outputs at many points by the two coordinates of a shift.
    shifted = lambda shift: network(weights, points + shift)[:, 0]
    by = lambda method: _operations(lambda w, v: hvp(loss, method=method)((w,), v), weights, weights)
    shift = jnp.zeros(2)
    found = {
        "training gradient": _operations(jax.jacfwd(loss), weights) / _operations(jax.grad(loss), weights),
        "Hessian-vector product": by("forward-over-reverse") / by("reverse-over-reverse"),
        "network by its coordinates": _operations(jax.jacfwd(shifted), shift) / _operations(jax.jacrev(shifted), shift),
    }
    return found, plan(hvp, loss, (weights,), weights).method


def run(config, key):
    from jaxcalc.engines import dual, finite_differences, tape

    found = np.zeros((len(config.sizes), len(_PRICED)))
    for i, n in enumerate(config.sizes):
        weights, x = jnp.ones((n, n)), jnp.ones(n)
        # The weights are an argument: what a program closes over is computed beforehand.
        routes = {
            "jax reverse": lambda w, x: jax.value_and_grad(_layer(jnp, w))(x),
            "tape": lambda w, x: tape.value_and_gradient(_layer(tape, w))(x),
            "jax forward": lambda w, x: jax.jacfwd(_layer(jnp, w))(x),
            "dual": lambda w, x: dual.gradient(_layer(dual, w))(x),
            "central": lambda w, x: finite_differences.gradient(_layer(jnp, w))(x),
        }
        value = _operations(lambda w, x: _layer(jnp, w)(x), weights, x)
        found[i] = [_operations(routes[name], weights, x) / value for name in _PRICED]
    settings, product = _settings()
    forward, backward, central, right = _evaluations(config.partials)
    return {
        "n": np.array(config.sizes),
        "route": np.array(_PRICED),
        "relative_cost": found,
        "setting": np.array(list(settings)),
        "forward_over_reverse": np.array(list(settings.values())),
        "product_method": np.array(product),
        "num_partials": np.asarray(config.partials),
        "calls": np.array([forward, backward, central]),
        "right_partials": np.asarray(right),
    }


def _judge_one_pass(dataset):
    n, right = dataset.num_partials, dataset.right_partials
    forward, backward, central = dataset.calls
    return Finding(
        equal([forward, backward], 1) & equal(right, n) & equal(central, 2 * n),
        measured=f"{right.item():g} partial derivatives from {forward.item():g} pass forward and {backward.item():g} "
        f"back; central differences took {central.item():g} evaluations",
    )


def _judge_rare(dataset):
    ratio = {str(k): float(v) for k, v in zip(dataset.setting.values, dataset.forward_over_reverse.values)}
    method = str(dataset.product_method.values)
    return Finding(
        less(1.0, ratio["training gradient"]) & above(dataset.forward_over_reverse, 0.0),
        limits=equal(method, "forward-over-reverse")
        & below(ratio["Hessian-vector product"], 1.0)
        & less(ratio["network by its coordinates"], 1.0),
        measured=", ".join(f"{name} {value:.3g}" for name, value in ratio.items())
        + f" (operations with forward mode over those by reverse mode alone); the product's route is {method}",
    )


def figures(dataset):
    n = dataset.n.astype(float)
    hollow = {"markerfacecolor": "none", "markeredgewidth": 0.9, "markersize": 7}  # tape and dual lie on jax's own
    figure, _ = style.chart(
        dataset.relative_cost,
        "n",
        hue="route",
        theory={"n": n, "2 n": 2 * n},
        looks={"tape": hollow, "dual": hollow},
        log="xy",
        ylim=(1.0, 1.3 * float(dataset.relative_cost.max())),
        xlabel="inputs n",
        ylabel="operations / those of the function",
        legend="ends",
        width=4.6,
        height=3.0,
    )
    figure.set_label("A gradient by every engine over one evaluation, operations counted. Dashed: n and 2 n.")
    return {"cost": figure}


claims = {"one-backward-pass-gives-all-gradients": _judge_one_pass, "forward-mode-rare-in-ml": _judge_rare}
