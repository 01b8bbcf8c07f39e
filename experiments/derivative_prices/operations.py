"""Are operations read off a program what one counts by hand?"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import pydantic

from experiments.derivative_prices import complete, flat
from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below

kind = "host"

Program = Literal[
    "matrix product",
    "many small products",
    "dense layer",
    "recurrent network",
    "attention",
    "convolution",
    "Fourier transform",
    "Cholesky factor",
    "triangular solve",
    "linear solve",
    "5-point stencil",
    "pairwise potential",
    "polynomial in a loop",
    "loops in a loop",
    "prefix sums",
    "logsumexp",
    "gradient of least squares",
    "Jacobian of a layer",
]


class Config(lab.Config):
    program: Program = "matrix product"
    """a program whose operations have a closed form"""
    size: int = pydantic.Field(64, ge=8)
    """n in that form"""


class _Count(NamedTuple):
    """A program, the shapes of its arguments, and its operations by hand."""

    fun: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    flops: float
    transcendentals: float
    formula: str
    dtype: str = "float32"


def _count(program: str, n: int) -> _Count:
    """The operations of a program by hand: a multiply-add is two, a transcendental counts apart."""
    import jax
    import jax.numpy as jnp

    match program:
        case "matrix product":
            return _Count(jnp.matmul, ((n, 2 * n), (2 * n, 3 * n)), 12 * n**3, 0, "2 (n)(2n)(3n)")
        case "many small products":
            return _Count(jax.vmap(jnp.matmul), ((n * n, 3, 3), (n * n, 3, 3)), 54 * n**2, 0, "n² (2·3³)")
        case "dense layer":
            fun = lambda w, b, x: jnp.tanh(x @ w + b)
            flops = 4 * n**3 + 2 * n**2
            return _Count(fun, ((n, 2 * n), (2 * n,), (n, n)), flops, 2 * n**2, "2 (n)(n)(2n) + 2n²")
        case "recurrent network":

            def network(w, u, x):
                step = lambda h, row: (jnp.tanh(w @ h + u @ row), None)
                return jax.lax.scan(step, jnp.zeros(n), x)[0]

            return _Count(network, ((n, n), (n, n), (n, n)), n * (4 * n**2 + n), n * n, "n steps of 4n² + n")
        case "attention":
            d = 2 * n

            def attention(q, k, v):
                return jax.nn.softmax((q @ k.T) / jnp.sqrt(1.0 * d)) @ v

            # Two products; scaling; softmax: largest, difference, sum, quotient.
            flops = 4 * n**2 * d + n**2 + (2 * n * (n - 1) + 2 * n**2)
            return _Count(attention, ((n, d), (n, d), (n, d)), flops, n**2, "4n²(2n) + n² + softmax 4n² - 2n")
        case "convolution":

            def convolution(image, kernel):
                numbers = ("NHWC", "HWIO", "NHWC")
                return jax.lax.conv_general_dilated(image, kernel, (1, 1), "VALID", dimension_numbers=numbers)

            flops = 2 * (n - 4) ** 2 * 25 * 3 * 8
            return _Count(convolution, ((1, n, n, 3), (5, 5, 3, 8)), flops, 0, "2 (n-4)² 5² 3·8")
        case "Fourier transform":
            points = 2 ** round(2 * np.log2(n))
            flops = 5 * points * np.log2(points)
            return _Count(jnp.fft.fft, ((points,),), flops, 0, "5 N log₂ N, N ≈ n²", "complex64")
        case "Cholesky factor":
            factor = lambda a: jax.lax.linalg.cholesky(a, symmetrize_input=False)
            return _Count(factor, ((n, n),), n**3 / 3, 0, "n³/3")
        case "triangular solve":
            fun = lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True)
            return _Count(fun, ((n, n), (n, 4)), 4 * n**2, 0, "n² for each of 4 right sides")
        case "linear solve":
            return _Count(jnp.linalg.solve, ((n, n), (n,)), 2 * n**3 / 3 + 2 * n**2, 0, "2n³/3 + 2n²")
        case "5-point stencil":

            def stencil(u):
                return u[1:-1, 2:] + u[1:-1, :-2] + u[2:, 1:-1] + u[:-2, 1:-1] - 4.0 * u[1:-1, 1:-1]

            return _Count(stencil, ((n, n),), 5 * (n - 2) ** 2, 0, "5 (n-2)²")
        case "pairwise potential":

            def potential(x):
                apart = x[:, None] - x[None]
                return jnp.sum(1.0 / jnp.sqrt(jnp.sum(apart * apart, -1) + 0.1))

            # Differences 3, squares 3, their sum 2, softening, root, quotient, total.
            return _Count(potential, ((n, 3),), 12 * n**2 - 1, 0, "12n² - 1")
        case "polynomial in a loop":

            def horner(coefficients, x):
                body = lambda i, value: value * x + coefficients[i]
                return jax.lax.fori_loop(0, 2 * n, body, jnp.zeros_like(x))

            return _Count(horner, ((2 * n,), (n * n,)), 4 * n**3, 0, "2 (2n)(n²)")
        case "loops in a loop":

            def relax(u):
                inner = lambda _, v: 0.5 * v + 0.25 * jnp.roll(v, 1)
                outer = lambda v, _: (jax.lax.fori_loop(0, n, inner, v), None)
                return jax.lax.scan(outer, u, length=n)[0]

            return _Count(relax, ((n,),), 3 * n**3, 0, "n times n times 3n")
        case "prefix sums":
            return _Count(lambda x: jnp.cumsum(x, 1), ((n, n),), n * (n - 1), 0, "n (n-1)")
        case "logsumexp":
            fun = lambda x: jax.nn.logsumexp(x, 1)
            flops = 2 * n * (n - 1) + n**2 + n
            return _Count(fun, ((n, n),), flops, n**2 + n, "largest, difference, sum: 3n² - n")
        case "gradient of least squares":
            fun = jax.grad(lambda x, a, b: 0.5 * jnp.sum((a @ x - b) ** 2))
            # A x, the residual, A' r; the value itself is not asked for.
            return _Count(fun, ((n,), (4 * n, n), (4 * n,)), 16 * n**2 + 4 * n, 0, "2 (2·4n·n) + 4n")
        case _:
            fun = jax.jacfwd(lambda x, w: jnp.tanh(w @ x))
            # W x, W I, and the slope 1 - tanh² of 2n outputs times n columns.
            flops = 4 * n**2 + 4 * n**3 + 4 * n + 2 * n**2
            return _Count(fun, ((n,), (2 * n, n)), flops, 2 * n, "4n³ + 4n² + 2n² + 4n")


VARIABLES = {
    "name": Variable((), "", "the program"),
    "formula": Variable((), "", "its operations in closed form"),
    "hand_flops": Variable((), "", "operations by hand, a multiply-add being two, without transcendentals"),
    "hand_transcendentals": Variable((), "", "transcendentals by hand"),
    "flops": Variable((), "", "operations read off the program"),
    "transcendentals": Variable((), "", "transcendentals read off the program"),
    "xla_operations": Variable((), "", "both by XLA's count; NaN where it does not see all"),
}


def run(config, key):
    """Price one program from shapes alone, beside the count by hand and XLA's."""
    import jax

    from jaxcalc.programs.compiled import executable
    from jaxcalc.programs.cost import cost

    hand = _count(config.program, config.size)
    shapes = [jax.ShapeDtypeStruct(shape, hand.dtype) for shape in hand.shapes]
    priced = cost(hand.fun, *shapes)
    return {
        "name": np.array(config.program),
        "formula": np.array(hand.formula),
        "hand_flops": np.array(float(hand.flops)),
        "hand_transcendentals": np.array(float(hand.transcendentals)),
        "flops": np.array(float(priced.flops)),
        "transcendentals": np.array(float(priced.transcendentals)),
        "xla_operations": np.array(executable(hand.fun, *shapes).operations),
    }


def _errors(data: dict[str, np.ndarray]) -> np.ndarray:
    """The larger relative error of a program's two counts."""
    flops, transcendentals = data["hand_flops"], data["hand_transcendentals"]
    # A transcendental that is not there by hand is measured against all operations.
    whole = np.where(transcendentals > 0, transcendentals, flops + transcendentals)
    gaps = abs(data["flops"] - flops), abs(data["transcendentals"] - transcendentals)
    return np.maximum(gaps[0] / abs(flops), gaps[1] / abs(whole))


def _as_by_hand(dataset):
    complete(dataset, "name")
    data = flat(dataset, VARIABLES, "name")
    errors = _errors(data)
    worst = int(np.argmax(errors))
    return Finding(
        below(errors),
        measured=f"worst of {len(errors)} {errors[worst]:.2%} ({data['name'][worst]})",
    )


def tables(dataset):
    data = flat(dataset, VARIABLES, "name")
    total = data["flops"] + data["transcendentals"]
    rows = [
        {
            "program": str(name),
            "operations by hand": str(data["formula"][i]),
            "and transcendentals": int(data["hand_transcendentals"][i]),
            "by hand": float(f"{data['hand_flops'][i] + data['hand_transcendentals'][i]:.6g}"),
            "read off": float(f"{total[i]:.6g}"),
            "XLA": float(f"{data['xla_operations'][i]:.6g}"),
            "error": f"{_errors(data)[i]:.2%}",
        }
        for i, name in enumerate(data["name"])
    ]
    return {"Operations by hand, as read off the program, and by XLA's count": rows}


def figures(dataset):
    data = flat(dataset, VARIABLES, "name")
    if len(data["name"]) < 2:
        return {}
    hand = data["hand_flops"] + data["hand_transcendentals"]
    rows = np.arange(len(hand))
    figure, axis = style.subplots(width=5.2, height=0.19 * len(rows) + 1.0)
    axis.axvspan(0.95, 1.05, color="#EDEDED", linewidth=0, zorder=0)
    axis.axvline(1.0, **{**style.THEORY, "marker": None})
    xla = data["xla_operations"] / hand
    ours = (data["flops"] + data["transcendentals"]) / hand
    low, high = 0.8, 1.25
    axis.plot(np.clip(xla, low, high), rows, "D", color=style.COLORS["orange"], fillstyle="none", markeredgewidth=1.0)
    axis.plot(ours, rows, "o", color=style.COLORS["blue"], label="read off the program")
    axis.plot([], [], "D", color=style.COLORS["orange"], fillstyle="none", markeredgewidth=1.0, label="XLA's count")
    for row in rows[(xla < low) | (xla > high)]:
        left = xla[row] < low
        axis.annotate(
            f"{xla[row]:.2g}",
            (low if left else high, row),
            xytext=(6 if left else -6, 0),
            textcoords="offset points",
            ha="left" if left else "right",
            va="center",
            fontsize=7,
            color=style.COLORS["orange"],
        )
    for row in rows[np.isnan(xla)]:
        axis.annotate("not counted", (high, row), ha="right", va="center", fontsize=7, color=style.COLORS["orange"])
    axis.set_yticks(rows, [str(name) for name in data["name"]])
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_xlim(low - 0.02, high + 0.02)
    axis.set_xlabel("operations over the count by hand (band: 5 %)")
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside upper center", ncols=2)
    figure.set_label("Operations as read off each program, over a count by hand; XLA's count where it sees them all.")
    return {"operations": figure}


claims = {"operations-as-by-hand": _as_by_hand}
