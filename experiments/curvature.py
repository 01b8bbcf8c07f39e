"""What does curvature cost, whole, in products and in factors?

The size of the Hessian and the price of its products beside the gradient's (``products``); and how well a Kronecker
product of two small matrices stands for a layer's block of it (``kronecker``).
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, Part, Variable, above, below, between, close, equal

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

# -- products ----------------------------------------------------------------------------------------------------------


_COMPILED = 512  # variables up to which the whole Hessian is compiled


class Products(Config):
    largest: int = pydantic.Field(4096, ge=256)
    """variables of the largest problem, a power of two; from 64 on each is twice the one before"""
    parameters: int = pydantic.Field(100_000_000, ge=1)
    """of a large network"""


def run_products(config: Products, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

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


def _entries(dataset: "xarray.Dataset") -> Finding:
    return Finding(
        equal(dataset.entries) & equal([dataset.hessian_bytes, dataset.gradient_bytes], [4e16, 4e8]),
        measured=f"{float(dataset.entries):.3g} entries, {float(dataset.hessian_bytes) / 1e15:.3g} PB in float32; "
        f"the gradient takes {float(dataset.gradient_bytes) / 1e9:.3g} GB",
    )


def _first_order(dataset: "xarray.Dataset") -> Finding:
    small, large = dataset.n.values <= _COMPILED, dataset.n.values >= 256
    gradient = dataset.gradient_operations.values
    whole = dataset.hessian_operations.values[small] / gradient[small]
    ratio = dataset.product_operations.values[large] / gradient[large]
    growth = np.polyfit(np.log(dataset.n.values[small]), np.log(whole), 1)[0]
    steady = np.ptp(ratio) / ratio.mean()
    return Finding(
        above(growth, 0.8),
        limits=below(steady, 0.05) & below(ratio, 5.0),
        measured=f"the whole Hessian costs {growth:.2f} powers of n more than the gradient; a Hessian-vector "
        f"product {ratio.mean():.2f} gradients, the same within {100 * steady:.1f}% from n = 256 on",
        figure="products",
    )


def figures_of_products(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panel = style.subplots(height=2.8)
    n = dataset.n.values.astype(float)
    for name, text, color, marker in (
        ("gradient", "gradient", "blue", "o"),
        ("product", "Hessian-vector product", "vermilion", "s"),
        ("hessian", "Hessian", "green", "^"),
    ):
        count = dataset[f"{name}_operations"].values
        panel.plot(n, count, color=style.COLORS[color], marker=marker, label=text)
        power = 2 if name == "hessian" else 1
        last = np.flatnonzero(np.isfinite(count))[-1]
        panel.plot(n[: last + 1], count[last] * (n[: last + 1] / n[last]) ** power, **{**style.THEORY, "zorder": 3})
    panel.set(xscale="log", yscale="log", xlabel="variables n", ylabel="operations")
    panel.set_xticks([100, 1000], ["100", "1000"])
    figure.legend(loc="outside lower center", ncols=3, columnspacing=1.0, handlelength=1.6)
    figure.set_label(
        "Operations, as the compiler counts them, of the gradient, a Hessian-vector product and the Hessian of a "
        "chained function; dashed: powers 1, 1 and 2 of n."
    )
    return {"products": figure}


products = Part(
    Products,
    {
        "n": Variable(("n",), "", "variables"),
        "gradient_operations": Variable(("n",), "", "operations of the gradient, XLA's count"),
        "product_operations": Variable(("n",), "", "operations of a Hessian-vector product"),
        "hessian_operations": Variable(("n",), "", "operations of the Hessian; NaN where it was not compiled"),
        "entries": Variable((), "", "entries of the Hessian of a large network"),
        "hessian_bytes": Variable((), "B", "its bytes in single precision"),
        "gradient_bytes": Variable((), "B", "bytes of the gradient"),
    },
    "host",
    run_products,
    figures=figures_of_products,
    claims={"hessian-1e16-entries": _entries, "deep-learning-must-stay-first-order": _first_order},
    doc="What do the Hessian and its products cost beside the gradient?",
)

# -- kronecker ---------------------------------------------------------------------------------------------------------


class Kronecker(Config):
    inputs: int = pydantic.Field(4, ge=1)
    """inputs of the layer"""
    hidden: int = pydantic.Field(6, ge=2)
    """its units"""
    outputs: int = pydantic.Field(3, ge=1)
    """outputs of the network"""
    samples: int = pydantic.Field(500, ge=10)
    """random inputs"""
    networks: int = pydantic.Field(20, ge=1)
    """random networks"""


def _block(input: Any, after: Any) -> dict[str, Any]:
    """A layer's block of the Fisher matrix of a unit-normal output, exact and from its two factors.

    ``F = E[a a' (x) J'J]`` and ``E[a a'] (x) E[J'J]``, a the layer's input and J the outputs by its units.
    """
    import jax.numpy as jnp

    samples = len(input)
    inner = jnp.einsum("sa,sb->ab", input, input) / samples
    outer = jnp.einsum("soi,soj->ij", after, after) / samples
    full = jnp.einsum("sa,sb,soi,soj->aibj", input, input, after, after) / samples
    size = inner.shape[0] * outer.shape[0]
    exact, product = full.reshape(size, size), jnp.kron(inner, outer)
    return {
        "error": jnp.linalg.norm(product - exact) / jnp.linalg.norm(exact),
        "exact": exact,
        "product": product,
        "stored": inner.size + outer.size,
    }


def run_kronecker(config: Kronecker, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.models import mlp

    model = mlp((config.inputs, config.hidden, config.outputs))

    def measured(key):
        keys = jax.random.split(key, 3)
        first, last = model.init(keys[0])
        x = jax.random.normal(keys[1], (config.samples, config.inputs))
        hidden = jax.vmap(jax.jacrev(lambda z: jnp.tanh(z) @ last.weights + last.biases))(x @ first.weights)

        # By the chain rule the outputs by the weights are J (x) a; here they are differentiated as a whole.
        def outputs(weights, x):
            return model.apply([first._replace(weights=weights), last], x)

        direct = jax.vmap(jax.jacrev(outputs), in_axes=(None, 0))(first.weights, x)
        direct = direct.reshape(config.samples, config.outputs, -1)
        fisher = jnp.einsum("soi,soj->ij", direct, direct) / config.samples
        alone = jnp.broadcast_to(jnp.eye(config.hidden), (config.samples, config.hidden, config.hidden))
        blocks = _block(x, hidden), _block(x, alone)
        by_ad = jnp.linalg.norm(blocks[0]["exact"] - fisher) / jnp.linalg.norm(fisher)
        return blocks[0], blocks[1]["error"], by_ad

    block, linear, by_ad = jax.jit(lambda keys: jax.lax.map(measured, keys))(jax.random.split(key, config.networks))
    return {
        "hidden_error": block["error"],
        "linear_error": linear,
        "by_ad": by_ad,
        "exact": block["exact"][0],
        "product": block["product"][0],
        "stored": int(block["stored"][0]),
    }


def _factored(dataset: "xarray.Dataset") -> Finding:
    linear, hidden = dataset.linear_error.values, dataset.hidden_error.values
    stored, size = float(dataset.stored), dataset.exact.size
    return Finding(
        close({"linear_layer_error": linear.max()})
        & below(dataset.by_ad, 1e-12)
        & between(hidden.max(), 0.01, 1.0)
        & below(stored, size / 4),
        measured=f"linear layer: error {linear.max():.1g}; hidden layer: median {100 * np.median(hidden):.1f}%, from "
        f"{100 * hidden.min():.0f}% to {100 * hidden.max():.0f}% over {hidden.size} networks, {stored:g} numbers for "
        f"{size}",
        figure="blocks",
        note="The Fisher matrix of a normal output with variance 1, which is the Gauss-Newton matrix of half the "
        "squared error.",
    )


def figures_of_kronecker(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panels = style.subplots(1, 3, width="page", height=2.6)
    exact, product = dataset.exact.values, dataset["product"].values
    top = float(abs(exact).max())
    image = None
    for panel, matrix, title in zip(
        panels, (exact, product, product - exact), ("exact block", "Kronecker product", "difference")
    ):
        image = panel.imshow(matrix, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest")
        panel.set_title(title)
        panel.grid(visible=False)
        panel.set(xlabel="weight", xticks=(0, len(exact) - 1), yticks=(0, len(exact) - 1))
        panel.set_xticklabels(("1", len(exact)))
        panel.set_yticklabels(("1", len(exact)))
    panels[0].set_ylabel("weight")
    assert image is not None
    bar = figure.colorbar(image, ax=panels, shrink=0.8, label="entry of the Fisher matrix")
    bar.outline.set_visible(False)
    figure.set_label(
        "A hidden layer's block of the Fisher matrix, the Kronecker product of its two factors, and their difference, "
        f"{100 * float(dataset.hidden_error[0]):.0f}% in the Frobenius norm: {int(dataset.stored)} numbers in place of "
        f"{exact.size}."
    )
    return {"blocks": figure}


kronecker = Part(
    Kronecker,
    {
        "hidden_error": Variable(("network",), "", "relative error of the product for a hidden layer, Frobenius norm"),
        "linear_error": Variable(("network",), "", "the same for a linear layer alone"),
        "by_ad": Variable(("network",), "", "the hidden layer's block less that of whole Jacobians, relative"),
        "exact": Variable(("row", "column"), "", "the block of the first network"),
        "product": Variable(("row", "column"), "", "its Kronecker product"),
        "stored": Variable((), "", "numbers that the two factors hold"),
    },
    "host",
    run_kronecker,
    figures=figures_of_kronecker,
    claims={"kronecker-factored-curvature": _factored},
    doc="How well does a Kronecker product stand for a layer's curvature?",
)
