"""What do the Hessian and its products cost beside the gradient?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, between, equal, jax, jnp

kind = "host"

_COMPILED = 512  # variables up to which the whole Hessian is compiled


class Config(lab.Config):
    largest: int = pydantic.Field(4096, ge=256)
    """variables of the largest problem, a power of two; from 64 on each is twice the one before"""
    parameters: int = pydantic.Field(100_000_000, ge=1)
    """of a large network"""


VARIABLES = {
    "n": Variable(("n",), "", "variables"),
    "gradient_operations": Variable(("n",), "", "operations of the gradient, XLA's count"),
    "product_operations": Variable(("n",), "", "operations of a Hessian-vector product"),
    "hessian_operations": Variable(("n",), "", "operations of the Hessian; NaN where it was not compiled"),
    "entries": Variable((), "", "entries of the Hessian of a large network"),
    "hessian_bytes": Variable((), "B", "its bytes in single precision"),
    "gradient_bytes": Variable((), "B", "bytes of the gradient"),
}


def run(config, key):
    from jaxcalc import hvp
    from jaxcalc.functions import problems
    from jaxcalc.programs.compiled import executable

    sizes = 2 ** np.arange(6, int(np.log2(config.largest)) + 1)
    gradient, product, whole = [], [], []
    for n in map(int, sizes):
        fun = problems.rosenbrock(n).function
        x = jax.ShapeDtypeStruct((n,), float)
        gradient.append(executable(jax.grad(fun), x).flops)
        product.append(executable(lambda x, v, fun=fun: hvp(fun)((x,), v), x, x).flops)
        whole.append(executable(jax.hessian(fun), x).flops if n <= _COMPILED else np.nan)
    # Shapes only: no such array could be held.
    weights = jax.ShapeDtypeStruct((config.parameters,), jnp.float32)
    quartic = lambda x: jnp.sum(x**4)
    size = lambda found: float(found.size) * found.dtype.itemsize
    matrix, vector = jax.eval_shape(jax.hessian(quartic), weights), jax.eval_shape(jax.grad(quartic), weights)
    return {
        "n": sizes,
        "gradient_operations": np.array(gradient),
        "product_operations": np.array(product),
        "hessian_operations": np.array(whole),
        "entries": float(matrix.size),
        "hessian_bytes": size(matrix),
        "gradient_bytes": size(vector),
    }


def _entries(dataset):
    return Finding(
        equal(dataset.entries) & equal([dataset.hessian_bytes, dataset.gradient_bytes], [4e16, 4e8]),
        measured=f"{float(dataset.entries):.3g} entries, {float(dataset.hessian_bytes) / 1e15:.3g} PB in float32; "
        f"the gradient takes {float(dataset.gradient_bytes) / 1e9:.3g} GB",
    )


def _first_order(dataset):
    small, large = dataset.n.values <= _COMPILED, dataset.n.values >= 256
    gradient = dataset.gradient_operations.values
    whole = dataset.hessian_operations.values[small] / gradient[small]
    ratio = dataset.product_operations.values[large] / gradient[large]
    growth = np.polyfit(np.log(dataset.n.values[small]), np.log(whole), 1)[0]
    steady = np.ptp(ratio) / ratio.mean()
    return Finding(
        above(growth, 0.8),
        limits=below(steady, 0.05) & between(ratio, 1.0, 5.0),
        measured=f"the whole Hessian costs {growth:.2f} powers of n more than the gradient; a Hessian-vector "
        f"product {ratio.mean():.2f} gradients, the same within {100 * steady:.1f}% from n = 256 on",
        figure="products",
    )


def figures(dataset):
    counts = {
        "gradient": dataset.gradient_operations,
        "Hessian-vector product": dataset.product_operations,
        "Hessian": dataset.hessian_operations,
    }
    figure, panels = style.chart(
        counts,
        "n",
        slopes={"gradient": 1, "Hessian": 2},
        log="xy",
        xlabel="variables n",
        ylabel="operations",
        ylim=(300, 3e8),
        legend="upper right",
        height=2.8,
    )
    style.ticks(panels[0, 0].xaxis, [100, 1000])
    figure.set_label(
        "Operations, as the compiler counts them, of the gradient, a Hessian-vector product and the Hessian of a "
        "chained function; dashed: powers 1 and 2 of n."
    )
    return {"products": figure}


claims = {"hessian-1e16-entries": _entries, "deep-learning-must-stay-first-order": _first_order}
