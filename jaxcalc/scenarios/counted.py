"""Counted programs: programs of any size whose operations have a closed form, to hold a price against.

A multiply-add is two operations, a transcendental counts apart. Arguments are shapes alone: nothing need be computed.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks

__all__ = ["NAMES", "Counted", "Name", "make"]

Name = Literal[
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
NAMES: tuple[Name, ...] = get_args(Name)


class Counted(NamedTuple):
    """A program with its operations by hand.

    Args:
      fun: the program, a function of arrays.
      shapes: of its arguments.
      flops: its operations, without the transcendentals.
      transcendentals: evaluations of exp, tanh, sqrt and the like.
      formula: the operations as one writes them down.
      dtype: of its arguments.
    """

    fun: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    flops: float
    transcendentals: float
    formula: str
    dtype: str = "float32"

    @property
    def arguments(self) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Shape and dtype of every argument, as programs are traced from."""
        return tuple(jax.ShapeDtypeStruct(shape, self.dtype) for shape in self.shapes)


def make(name: Name, n: int) -> Counted:
    """A counted program by name.

    Args:
      name: one of ``NAMES``.
      n: the size in its formula, 5 or more.

    Raises:
      ValueError: if the name is unknown.
    """
    match name:
        case "matrix product":
            return Counted(jnp.matmul, ((n, 2 * n), (2 * n, 3 * n)), 12 * n**3, 0, "2 (n)(2n)(3n)")
        case "many small products":
            return Counted(jax.vmap(jnp.matmul), ((n * n, 3, 3), (n * n, 3, 3)), 54 * n**2, 0, "n² (2·3³)")
        case "dense layer":
            fun = lambda w, b, x: jnp.tanh(x @ w + b)
            flops = 4 * n**3 + 2 * n**2
            return Counted(fun, ((n, 2 * n), (2 * n,), (n, n)), flops, 2 * n**2, "2 (n)(n)(2n) + 2n²")
        case "recurrent network":

            def network(w, u, x):
                step = lambda h, row: (jnp.tanh(w @ h + u @ row), None)
                return jax.lax.scan(step, jnp.zeros(n), x)[0]

            return Counted(network, ((n, n), (n, n), (n, n)), n * (4 * n**2 + n), n * n, "n steps of 4n² + n")
        case "attention":
            d = 2 * n

            def attention(q, k, v):
                return jax.nn.softmax((q @ k.T) / jnp.sqrt(1.0 * d)) @ v

            # Two products; scaling; softmax: largest, difference, sum, quotient.
            flops = 4 * n**2 * d + n**2 + (2 * n * (n - 1) + 2 * n**2)
            return Counted(attention, ((n, d), (n, d), (n, d)), flops, n**2, "4n²(2n) + n² + softmax 4n² - 2n")
        case "convolution":

            def convolution(image, kernel):
                numbers = ("NHWC", "HWIO", "NHWC")
                return jax.lax.conv_general_dilated(image, kernel, (1, 1), "VALID", dimension_numbers=numbers)

            flops = 2 * (n - 4) ** 2 * 25 * 3 * 8
            return Counted(convolution, ((1, n, n, 3), (5, 5, 3, 8)), flops, 0, "2 (n-4)² 5² 3·8")
        case "Fourier transform":
            points = 2 ** round(2 * np.log2(n))
            flops = 5 * points * np.log2(points)
            return Counted(jnp.fft.fft, ((points,),), flops, 0, "5 N log₂ N, N ≈ n²", "complex64")
        case "Cholesky factor":
            factor = lambda a: jax.lax.linalg.cholesky(a, symmetrize_input=False)
            return Counted(factor, ((n, n),), n**3 / 3, 0, "n³/3")
        case "triangular solve":
            fun = lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True)
            return Counted(fun, ((n, n), (n, 4)), 4 * n**2, 0, "n² for each of 4 right sides")
        case "linear solve":
            return Counted(jnp.linalg.solve, ((n, n), (n,)), 2 * n**3 / 3 + 2 * n**2, 0, "2n³/3 + 2n²")
        case "5-point stencil":

            def stencil(u):
                return u[1:-1, 2:] + u[1:-1, :-2] + u[2:, 1:-1] + u[:-2, 1:-1] - 4.0 * u[1:-1, 1:-1]

            return Counted(stencil, ((n, n),), 5 * (n - 2) ** 2, 0, "5 (n-2)²")
        case "pairwise potential":

            def potential(x):
                apart = x[:, None] - x[None]
                return jnp.sum(1.0 / jnp.sqrt(jnp.sum(apart * apart, -1) + 0.1))

            # Differences 3, squares 3, their sum 2, softening, root, quotient, total.
            return Counted(potential, ((n, 3),), 12 * n**2 - 1, 0, "12n² - 1")
        case "polynomial in a loop":

            def horner(coefficients, x):
                body = lambda i, value: value * x + coefficients[i]
                return jax.lax.fori_loop(0, 2 * n, body, jnp.zeros_like(x))

            return Counted(horner, ((2 * n,), (n * n,)), 4 * n**3, 0, "2 (2n)(n²)")
        case "loops in a loop":

            def relax(u):
                inner = lambda _, v: 0.5 * v + 0.25 * jnp.roll(v, 1)
                outer = lambda v, _: (jax.lax.fori_loop(0, n, inner, v), None)
                return jax.lax.scan(outer, u, length=n)[0]

            return Counted(relax, ((n,),), 3 * n**3, 0, "n times n times 3n")
        case "prefix sums":
            return Counted(lambda x: jnp.cumsum(x, 1), ((n, n),), n * (n - 1), 0, "n (n-1)")
        case "logsumexp":
            fun = lambda x: jax.nn.logsumexp(x, 1)
            flops = 2 * n * (n - 1) + n**2 + n
            return Counted(fun, ((n, n),), flops, n**2 + n, "largest, difference, sum: 3n² - n")
        case "gradient of least squares":
            fun = jax.grad(lambda x, a, b: 0.5 * jnp.sum((a @ x - b) ** 2))
            # A x, the residual, A' r; the value itself is not asked for.
            return Counted(fun, ((n,), (4 * n, n), (4 * n,)), 16 * n**2 + 4 * n, 0, "2 (2·4n·n) + 4n")
        case "Jacobian of a layer":
            fun = jax.jacfwd(lambda x, w: jnp.tanh(w @ x))
            # W x, W I, and the slope 1 - tanh² of 2n outputs times n columns.
            flops = 4 * n**2 + 4 * n**3 + 4 * n + 2 * n**2
            return Counted(fun, ((n,), (2 * n, n)), flops, 2 * n, "4n³ + 4n² + 2n² + 4n")
        case _:
            raise checks.unknown("make", "name", name, NAMES)
