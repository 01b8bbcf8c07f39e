"""Control flow and rules: loops with slices, branches, and functions that bring their own derivatives."""

import numpy as np

from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.catalogue.networks import dense, layers
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES"]


def _sweeps(rng: np.random.Generator, *, size: int, sweeps: int) -> Scenario:
    """Gauss-Seidel sweeps of u_i = (u_(i-1) + u_(i+1) + x_i - u_i^3 / 10) / 2 by slices inside a ``fori_loop``.

    What the loop reads and writes moves with its counter.
    """
    import jax.numpy as jnp
    from jax import lax

    def fun(x):
        def relax(i, u):
            k = 1 + i % size
            window = lax.dynamic_slice(u, (k - 1,), (3,))
            new = (window[0] + window[2] + x[k - 1] - 0.1 * window[1] ** 3) / 2.0
            return lax.dynamic_update_slice(u, new[None], (k,))

        return lax.fori_loop(0, sweeps * size, relax, jnp.zeros(size + 2, x.dtype))[1:-1]

    return Scenario(fun, rng.standard_normal(size))


def _windows(rng: np.random.Generator, *, size: int, width: int) -> Scenario:
    """Energies of windows sliding over a signal, y_i = sum_(j<w) g_j x_(i+j)^2, a ``scan`` slicing at its counter.

    Banded: w entries a row.
    """
    import jax.numpy as jnp
    from jax import lax

    count = size - width + 1

    def fun(x, weights):
        def step(i, _):
            return i + 1, jnp.sum(weights * lax.dynamic_slice(x, (i,), (width,)) ** 2)

        return lax.scan(step, 0, None, length=count)[1]

    return Scenario(fun, rng.standard_normal(size), (rng.uniform(0.5, 1, width),), num_nonzeros=count * width)


def _square_roots(rng: np.random.Generator, *, size: int) -> Scenario:
    """Square roots by 6 Newton steps in a ``while_loop``, y <- (y + x / y) / 2; y' = 1 / (2 sqrt x) once converged."""
    from jax import lax

    def fun(x):
        newton = lambda state: (state[0] + 1, 0.5 * (state[1] + x / state[1]))
        return lax.while_loop(lambda state: state[0] < 6, newton, (0, 0.5 * (x + 1.0)))[1]

    derivative = lambda x: np.diag(0.5 / np.sqrt(np.asarray(x, np.float64)))
    return Scenario(fun, rng.uniform(0.5, 3, size), derivative=derivative, num_nonzeros=size)


def _colebrook(rng: np.random.Generator, *, pipes: int) -> Scenario:
    """Pressure losses in pipes of a network with one fluid: friction by a ``while_loop`` of 12 fixed-point steps.

    1 / sqrt f = -2 log10(k / 3.7 + 2.51 / (Re sqrt f)), Re = q / nu; loss = f q^2: the viscosity nu is a dense column.

    Source: Colebrook (1939).
    """
    import jax.numpy as jnp
    from jax import lax

    def fun(x, roughness):
        reynolds = 1e5 * x["flow"] / x["viscosity"]

        def step(state):
            return state[0] + 1, -2.0 * jnp.log10(roughness / 3.7 + 2.51 / reynolds * state[1])

        root = lax.while_loop(lambda state: state[0] < 12, step, (0, jnp.full_like(reynolds, 6.0)))[1]
        return x["flow"] ** 2 / root**2

    point = {"flow": rng.uniform(0.5, 2, pipes), "viscosity": np.asarray(1.1)}
    return Scenario(fun, point, (rng.uniform(1e-4, 1e-3, pipes),), num_nonzeros=2 * pipes)


def _regimes(rng: np.random.Generator, *, size: int) -> Scenario:
    """Two laws and a ``cond`` on the mean of x: y = x^3 where it is positive, else a smoothed x."""
    import jax.numpy as jnp
    from jax import lax

    def fun(x):
        smooth = lambda x: (jnp.roll(x, 1) + x + jnp.roll(x, -1)) / 3.0
        return lax.cond(jnp.mean(x) > 0.0, lambda x: x**3, smooth, x)

    return Scenario(fun, rng.standard_normal(size) - 0.5, num_nonzeros=3 * size)


def _gears(rng: np.random.Generator, *, steps: int) -> Scenario:
    """A machine whose gear changes on a timetable, a ``switch`` of three laws in a ``scan``: states in (q, p, drive).

    Source: switched systems, as in Liberzon, Switching in Systems and Control.
    """
    import jax.numpy as jnp
    from jax import lax

    def fun(x, gears):
        laws = [
            lambda q, p: (q + 0.1 * p, p - 0.1 * q),
            lambda q, p: (q + 0.1 * p, p - 0.1 * jnp.sin(q)),
            lambda q, p: (q, 0.9 * p),
        ]

        def step(state, row):
            gear, drive = row
            q, p = lax.switch(gear, laws, *state)
            state = (q, p + 0.1 * jnp.tanh(drive))
            return state, q

        return lax.scan(step, (x["q"], x["p"]), (gears, x["drive"]))[1]

    point = {"q": np.asarray(0.4), "p": np.asarray(-0.2), "drive": rng.standard_normal(steps)}
    return Scenario(fun, point, (rng.integers(3, size=steps),))


def _rectified(rng: np.random.Generator, *, widths: tuple[int, ...], activation: str) -> Scenario:
    """A network whose activation brings its own forward rule (``relu`` and ``relu6`` are custom_jvp functions)."""
    fun = lambda x, p: dense(p, x, activation)
    return Scenario(fun, rng.standard_normal(widths[0]), (layers(rng, widths),))


def _log1pexp(rng: np.random.Generator, *, size: int) -> Scenario:
    """Products of log(1 + e^x) with its own forward rule, y_i = s(x_i) s(x_(i+1)) on a ring: two diagonals."""
    import jax
    import jax.numpy as jnp

    @jax.custom_jvp
    def soft(x):
        return jnp.logaddexp(x, 0.0)

    soft.defjvps(lambda tangent, answer, x: tangent * (1.0 - jnp.exp(-answer)))
    return Scenario(lambda x: soft(x) * jnp.roll(soft(x), -1), 2.0 * rng.standard_normal(size), num_nonzeros=2 * size)


def _straight_through(rng: np.random.Generator, *, inputs: int, outputs: int) -> Scenario:
    """A linear map of rounded weights, y = A round(8 x) / 8, whose rule passes the cotangent straight through: A.

    Source: Bengio, Leonard and Courville (2013).
    """
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def quantise(x):
        return jnp.round(8.0 * x) / 8.0

    quantise.defvjp(lambda x: (quantise(x), None), lambda _, cotangent: (cotangent,))
    matrix = rng.standard_normal((outputs, inputs))
    derivative = lambda x, a: np.asarray(a, np.float64)
    fun, point = lambda x, a: a @ quantise(x), rng.standard_normal(inputs)
    return Scenario(fun, point, (matrix,), derivative=derivative, num_nonzeros=inputs * outputs)


def _quantised_blocks(rng: np.random.Generator, *, blocks: int, width: int) -> Scenario:
    """Straight-through rounding inside blocks, y_b = A_b round(x_b): the rule gives A_b, block diagonal.

    Source: Bengio, Leonard and Courville (2013).
    """
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def quantise(x):
        return jnp.round(x)

    quantise.defvjp(lambda x: (quantise(x), None), lambda _, cotangent: (cotangent,))

    def derivative(x, a):
        return np.einsum("bij,bc->bicj", np.asarray(a, np.float64), np.eye(blocks))

    fun = lambda x, a: jnp.einsum("bij,bj->bi", a, quantise(x))
    constants = (rng.standard_normal((blocks, width, width)),)
    return Scenario(
        fun, rng.standard_normal((blocks, width)), constants, derivative=derivative, num_nonzeros=blocks * width**2
    )


def _clipped(rng: np.random.Generator, *, size: int) -> Scenario:
    """y_i = x_i^2 x_(i+1)^2 on a ring, whose rule clips what flows back into x to [-1/10, 1/10] entry by entry.

    The rule is not linear in the cotangent: "the Jacobian" is what it makes of one output at a time, clip(J).
    """
    import jax
    import jax.numpy as jnp

    @jax.custom_vjp
    def clip(x):
        return x

    clip.defvjp(lambda x: (x, None), lambda _, cotangent: (jnp.clip(cotangent, -0.1, 0.1),))

    def fun(x):
        square = clip(x) ** 2
        return square * jnp.roll(square, -1)

    def derivative(x):
        x = np.asarray(x, np.float64)
        after = np.roll(x, -1)
        matrix = np.diag(2 * x * after**2) + np.roll(np.diag(2 * x**2 * after), 1, axis=1)
        return np.clip(matrix, -0.1, 0.1)

    return Scenario(fun, rng.standard_normal(size), derivative=derivative, num_nonzeros=2 * size)


def _own_reverse(rng: np.random.Generator, *, size: int) -> Scenario:
    """Roots of y^3 + y = x by Newton in a loop, with the implicit rule 1 / (3 y^2 + 1) as its own reverse rule."""
    import jax
    from jax import lax

    @jax.custom_vjp
    def root(x):
        return lax.fori_loop(0, 40, lambda _, y: y - (y**3 + y - x) / (3.0 * y**2 + 1.0), x)

    def forward(x):
        y = root(x)
        return y, y

    root.defvjp(forward, lambda y, cotangent: (cotangent / (3.0 * y**2 + 1.0),))

    def derivative(x):
        y = x = np.asarray(x, np.float64)
        for _ in range(60):
            y = y - (y**3 + y - x) / (3 * y**2 + 1)
        return np.diag(1 / (3 * y**2 + 1))

    return Scenario(root, rng.uniform(-2, 2, size), derivative=derivative, num_nonzeros=size)


JACOBIANS = {
    "slices in loops": [
        tuned("sliding windows", _windows, size=300, width=7, tags=["scan", "slices", "banded"]),
        held_out("Gauss-Seidel sweeps", _sweeps, size=40, sweeps=3, dtype="float64", tags=["scan", "slices"]),
    ],
    "while": [
        tuned("square roots", _square_roots, size=300, tags=["while", "diagonal"], closed_form=True),
        held_out("pipe friction", _colebrook, pipes=250, dtype="float64", tags=["while", "pytree"]),
    ],
    "branches": [
        tuned("regimes", _regimes, size=200, tags=["cond", "banded", "periodic"]),
        held_out("gears", _gears, steps=60, dtype="float64", tags=["cond", "scan", "pytree"]),
    ],
    "custom forward rule": [
        tuned(
            "relu network", _rectified, widths=(40, 60, 60, 30), activation="relu", tags=["custom jvp", "kink", "dense"]
        ),
        held_out("log1pexp", _log1pexp, size=500, dtype="float64", tags=["custom jvp", "banded", "periodic"]),
        held_out(
            "relu6 network", _rectified, widths=(500, 80, 12), activation="relu6", tags=["custom jvp", "kink", "wide"]
        ),
    ],
    "custom reverse rule": [
        tuned(
            "straight through",
            _straight_through,
            inputs=120,
            outputs=10,
            tags=["custom vjp", "surrogate", "wide"],
            closed_form=True,
        ),
        tuned(
            "clipped gradient", _clipped, size=50, dtype="float64", tags=["custom vjp", "surrogate"], closed_form=True
        ),
        held_out(
            "quantised blocks",
            _quantised_blocks,
            blocks=40,
            width=6,
            tags=["custom vjp", "surrogate", "block diagonal"],
            closed_form=True,
        ),
        held_out(
            "implicit roots", _own_reverse, size=300, dtype="float64", tags=["custom vjp", "diagonal"], closed_form=True
        ),
    ],
}

CASES = collect("jacobian", JACOBIANS)
