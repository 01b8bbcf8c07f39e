"""Does the decay of a weight depend on the scale of its gradients?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, close, jax, jnp

kind = "host"


class Config(lab.Config):
    num_steps: int = pydantic.Field(100, ge=10)
    """steps, each against a gradient of the other sign"""
    rate: float = pydantic.Field(0.01, gt=0)
    """learning rate"""
    decay: float = pydantic.Field(0.1, gt=0)
    """strength of penalty and decay"""
    exponents: tuple[int, ...] = (-3, -2, -1, 0, 1, 2)
    """gradients have the sizes 10^exponent, rising"""


VARIABLES = {
    "scale": Variable(("scale",), "", "size of a weight's gradients"),
    "method": Variable(("method",), "", "Adam with an L2 penalty in the gradient, or AdamW"),
    "shrunk": Variable(("method", "step", "scale"), "", "share of the weight that the decay took"),
    "expected": Variable(("step",), "", "the same by 1 - (1 - rate decay)^steps"),
}


def run(config, key):
    return {"method": np.array(["adam", "adamw"]), **jax.jit(lambda: _shrunk(config))()}


def _shrunk(config):
    from jaxcalc.solvers import adam, adamw
    from jaxcalc.solvers.protocol import strong

    scale = 10.0 ** jnp.asarray(config.exponents, float)
    signs = (-1.0) ** jnp.arange(config.num_steps + 1)

    def way(solver):
        """The weights, all from 1, under gradients of alternating sign."""

        def step(at, sign):
            at = strong(solver.advance(lambda w: sign * (scale @ w), at))
            return at, at.x

        first = strong(solver.start(lambda w: scale @ w, jnp.ones_like(scale)))
        return jnp.concatenate([first.x[None], jax.lax.scan(step, first, signs[1:])[1]])

    free, inside, decoupled = (
        way(adam(config.rate)),
        way(adam(config.rate, l2=config.decay)),
        way(adamw(config.rate, weight_decay=config.decay)),
    )
    return {
        "scale": scale,
        "shrunk": 1 - jnp.stack([inside, decoupled]) / free,
        "expected": 1 - (1 - config.rate * config.decay) ** jnp.arange(config.num_steps + 1),
    }


def _decoupled(dataset):
    end = dataset.shrunk.isel(step=-1)
    inside, decoupled = (end.sel({"method": name}).values for name in ("adam", "adamw"))
    shares = [", ".join(f"{share:.4f}" for share in one) for one in (decoupled, inside)]
    return Finding(
        close({"shrinkage_spread_adamw": np.ptp(decoupled)}) & ~below(np.ptp(inside)),
        measured=f"share shrunk, by rising gradients: AdamW {shares[0]}; L2 inside Adam {shares[1]}",
        figure="scales",
    )


def figures(dataset):
    end = 100 * dataset.isel(step=-1)
    figure, panels = style.chart(
        end.shrunk,
        "scale",
        hue="method",
        theory=end.expected.expand_dims(scale=dataset.scale),
        looks={"adam": {"label": "L2 penalty inside Adam"}, "adamw": {"label": "AdamW"}},
        log="x",
        xlabel="size of the gradients",
        ylabel="share of the weight that decays (%)",
        legend="upper right",
        width=4.4,
        height=2.8,
    )
    panels[0, 0].set_ylim(0, None)
    figure.set_label(
        "What a hundred steps take off a weight, against the size of its gradients, whose sign alternates: a penalty "
        r"is scaled down with the gradient, decoupled decay is not. Dashed: $1-(1-\eta\lambda)^k$."
    )
    return {"scales": figure}


claims = {"adamw-decouples-decay": _decoupled}
