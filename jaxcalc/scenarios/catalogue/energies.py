"""Scalar functions whose curvature is asked for: losses, lattices, particles, controls. Traces and diagonals too."""

import numpy as np

from jaxcalc import checks
from jaxcalc.scenarios.catalogue.dynamics import runge_kutta
from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.catalogue.networks import dense, layers
from jaxcalc.scenarios.catalogue.statistics import mixture_densities, mixture_parameters
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES"]


def _rosenbrock(rng: np.random.Generator, *, size: int) -> Scenario:
    """The chained banana valley of ``functions.problems``, sum 100 (x_(i+1) - x_i^2)^2 + (1 - x_i)^2: tridiagonal.

    Source: Rosenbrock (1960).
    """
    from jaxcalc.functions import problems

    def derivative(x):
        x = np.asarray(x, np.float64)
        main = np.zeros(size)
        main[:-1] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
        main[1:] += 200
        return np.diag(main) + np.diag(-400 * x[:-1], 1) + np.diag(-400 * x[:-1], -1)

    point = 1.0 + 0.3 * rng.standard_normal(size)
    return Scenario(problems.rosenbrock(size).function, point, derivative=derivative, num_nonzeros=3 * size - 2)


def _two_variables(rng: np.random.Generator, *, which: str) -> Scenario:
    """Beale's or Himmelblau's function of two variables.

    Source: MGH problem 5 (More, Garbow and Hillstrom 1981); Himmelblau (1972).
    """

    def beale(x):
        a, b = x
        return (1.5 - a * (1.0 - b)) ** 2 + (2.25 - a * (1.0 - b**2)) ** 2 + (2.625 - a * (1.0 - b**3)) ** 2

    def himmelblau(x):
        return (x[0] ** 2 + x[1] - 11.0) ** 2 + (x[0] + x[1] ** 2 - 7.0) ** 2

    def derivative(x):
        a, b = np.asarray(x, np.float64)
        mixed = 4 * (a + b)
        return np.array([[12 * a**2 + 4 * b - 42, mixed], [mixed, 4 * a + 12 * b**2 - 26]])

    point = rng.uniform(0.5, 1.5, 2)
    match which:
        case "beale":
            return Scenario(beale, point, num_nonzeros=4)
        case "himmelblau":
            return Scenario(himmelblau, point, derivative=derivative, num_nonzeros=4)
        case _:
            raise checks.unknown("two variables", "which", which, ("beale", "himmelblau"))


def _network_loss(rng: np.random.Generator, *, widths: tuple[int, ...], batch: int, activation: str) -> Scenario:
    """Mean squared error of a dense network in its parameters, a PyTree: dense."""
    import jax.numpy as jnp

    inputs, target = rng.standard_normal((batch, widths[0])), rng.standard_normal((batch, widths[-1]))
    fun = lambda p, inputs, target: jnp.mean((dense(p, inputs, activation) - target) ** 2)
    return Scenario(fun, layers(rng, widths), (inputs, target))


def _likelihood(rng: np.random.Generator, *, rows: int, features: int, link: str) -> Scenario:
    """Negative log-likelihood of a generalised linear model, sum b(x_i' w) - y_i x_i' w; Hessian X' diag(b'') X.

    Source: McCullagh and Nelder, Generalized Linear Models.
    """
    import jax.numpy as jnp

    design = rng.standard_normal((rows, features)) / np.sqrt(features)
    seen = (rng.poisson(1.0, rows) if link == "poisson" else rng.integers(2, size=rows)).astype(float)

    def loss(w, design, seen):
        eta = design @ w
        cumulant = jnp.exp(eta) if link == "poisson" else jnp.logaddexp(0.0, eta)
        return jnp.sum(cumulant - seen * eta)

    def derivative(w, design, seen):
        design = np.asarray(design, np.float64)
        eta = design @ np.asarray(w, np.float64)
        return (design.T * (np.exp(eta) if link == "poisson" else 0.25 / np.cosh(eta / 2) ** 2)) @ design

    return Scenario(
        loss, rng.standard_normal(features), (design, seen), derivative=derivative, num_nonzeros=features**2
    )


def _mixture_loss(rng: np.random.Generator, *, dimension: int, components: int, points: int) -> Scenario:
    """Negative log-likelihood of a Gaussian mixture in all its parameters, a PyTree.

    Source: ADBench's GMM (Srajer et al. 2018), without the Wishart prior.
    """
    import jax.numpy as jnp

    data = rng.standard_normal((points, dimension))
    loss = lambda p, data: -jnp.sum(mixture_densities(p, data))
    return Scenario(loss, mixture_parameters(rng, dimension, components), (data,))


def _lattice_points(rng: np.random.Generator, count: int) -> np.ndarray:
    """Places (count, 3) about one apart: a cubic lattice, shaken."""
    side = int(np.ceil(count ** (1 / 3)))
    grid = np.stack(np.meshgrid(*3 * [np.arange(side)], indexing="ij"), axis=-1).reshape(-1, 3)[:count]
    return 1.1 * grid + 0.05 * rng.standard_normal((count, 3))


def _lennard_jones(rng: np.random.Generator, *, atoms: int, listed: bool) -> Scenario:
    """Lennard-Jones energy, sum over pairs 4 (r^-12 - r^-6): all pairs, or a list of near ones by gathers (sparse).

    Source: Jones (1924).
    """
    import jax.numpy as jnp

    point = _lattice_points(rng, atoms)
    first, second = np.triu_indices(atoms, 1)
    if listed:
        near = np.linalg.norm(point[first] - point[second], axis=1) < 1.4
        first, second = first[near], second[near]

    def energy(x, first, second):
        inverse = 1.0 / jnp.sum((x[first] - x[second]) ** 2, axis=-1) ** 3
        return jnp.sum(4.0 * (inverse**2 - inverse))

    return Scenario(energy, point, (first, second), num_nonzeros=9 * (atoms + 2 * len(first)))


def _phi4(rng: np.random.Generator, *, shape: tuple[int, ...]) -> Scenario:
    """Action of a field on a periodic lattice, sum over sites of sum_d (f_(x+d) - f_x)^2 / 2 - f^2 / 2 + f^4 / 4.

    Source: e.g. Montvay and Muenster, Quantum Fields on a Lattice.
    """
    import jax.numpy as jnp

    def action(field):
        hop = sum(jnp.sum((jnp.roll(field, -1, axis) - field) ** 2) for axis in range(len(shape)))
        return hop / 2 + jnp.sum(field**4 / 4 - field**2 / 2)

    return Scenario(action, rng.standard_normal(shape), num_nonzeros=int(np.prod(shape)) * (1 + 2 * len(shape)))


def _rotors(rng: np.random.Generator, *, side: int) -> Scenario:
    """Energy of planar rotors with open ends, -sum over neighbours cos(t_i - t_j) - h sum cos t_i.

    Source: the XY model, Kosterlitz and Thouless (1973).
    """
    import jax.numpy as jnp

    def energy(t):
        bonds = jnp.sum(jnp.cos(t[1:] - t[:-1])) + jnp.sum(jnp.cos(t[:, 1:] - t[:, :-1]))
        return -bonds - 0.2 * jnp.sum(jnp.cos(t))

    return Scenario(energy, rng.uniform(-3, 3, (side, side)), num_nonzeros=5 * side**2 - 4 * side)


def _barrier(rng: np.random.Generator, *, size: int, rows: int, local: bool) -> Scenario:
    """A linear programme's log barrier, c'x - sum log(b - A x) - sum log x; A' diag((b - A x)^-2) A + diag x^-2.

    With ``local`` every constraint binds neighbours, so that the Hessian is a band.

    Source: Boyd and Vandenberghe, Convex Optimization, chapter 11.
    """
    import jax.numpy as jnp

    point = rng.uniform(0.5, 1.5, size)
    cost = rng.standard_normal(size)

    def chained(x, cost, bound):
        return cost @ x - jnp.sum(jnp.log(bound - x[:-1] - x[1:])) - jnp.sum(jnp.log(x))

    def barrier(x, cost, matrix, bound):
        return cost @ x - jnp.sum(jnp.log(bound - matrix @ x)) - jnp.sum(jnp.log(x))

    def derivative(x, cost, matrix, bound):
        x, matrix, bound = (np.asarray(each, np.float64) for each in (x, matrix, bound))
        return (matrix.T / (bound - matrix @ x) ** 2) @ matrix + np.diag(x**-2)

    if local:
        bound = point[:-1] + point[1:] + rng.uniform(0.5, 1.5, size - 1)
        return Scenario(chained, point, (cost, bound), num_nonzeros=3 * size - 2)
    matrix = rng.standard_normal((rows, size))
    bound = matrix @ point + rng.uniform(0.5, 1.5, rows)
    return Scenario(barrier, point, (cost, matrix, bound), derivative=derivative, num_nonzeros=size**2)


def _minimal_surface(rng: np.random.Generator, *, side: int) -> Scenario:
    """Area of a film over a square with a bent rim, mean over cells of sqrt(1 + (a^2 + b^2) / 2), a, b diagonal slopes.

    Source: MINPACK-2 test problems (Averick et al. 1992).
    """
    import jax.numpy as jnp

    rim = np.sin(np.linspace(0, np.pi, side + 2))

    def area(u, rim):
        v = jnp.pad(u, 1).at[0].set(rim).at[-1].set(rim)
        a, b = (v[1:, 1:] - v[:-1, :-1]) * side, (v[1:, :-1] - v[:-1, 1:]) * side
        return jnp.mean(jnp.sqrt(1.0 + (a**2 + b**2) / 2))

    # A cell's two diagonals couple its opposite corners, and only through the root all four.
    return Scenario(area, 0.3 * rng.standard_normal((side, side)), (rim,), num_nonzeros=(3 * side - 2) ** 2)


def _arrow_energy(rng: np.random.Generator, *, size: int, border: int) -> Scenario:
    """Local variables that feel a few shared ones, sum_i (y_i - sin(a_i . z))^2 / 2 + y_i^4 + |z|^2: an arrowhead."""
    import jax.numpy as jnp

    def energy(x, a):
        z, y = x[:border], x[border:]
        return jnp.sum((y - jnp.sin(a @ z)) ** 2 / 2 + y**4) + z @ z

    count = border**2 + (2 * border + 1) * (size - border)
    constants = (rng.uniform(0.5, 1.5, (size - border, border)),)
    return Scenario(energy, rng.standard_normal(size), constants, num_nonzeros=count)


def _control(rng: np.random.Generator, *, steps: int, controls: int) -> Scenario:
    """Cost of steering pendulums, sum |y_k|^2 + |u_k|^2 / 10 along y'' = -sin y + B u, in all controls, by a ``scan``.

    Source: e.g. Betts, Practical Methods for Optimal Control.
    """
    import jax.numpy as jnp
    from jax import lax

    def cost(u, push):
        def step(state, now):
            def rate(state):
                angle, speed = state
                return jnp.stack([speed, -jnp.sin(angle) + push @ now])

            state = runge_kutta(rate, state, 0.1)
            return state, jnp.sum(state**2) + 0.1 * now @ now

        start = jnp.stack([jnp.ones(2, u.dtype), jnp.zeros(2, u.dtype)])
        return jnp.sum(lax.scan(step, start, u)[1])

    return Scenario(cost, 0.3 * rng.standard_normal((steps, controls)), (rng.standard_normal((2, controls)),))


def _springs(rng: np.random.Generator, *, side: int) -> Scenario:
    """Energy of a net of springs in the plane, sum (|x_i - x_j| - l)^2 / 2 over edges and diagonals, by gathers."""
    import jax.numpy as jnp

    index = np.arange(side**2).reshape(side, side)
    pairs = [(index[1:], index[:-1]), (index[:, 1:], index[:, :-1]), (index[1:, 1:], index[:-1, :-1])]
    first, second = (np.concatenate([pair[k].ravel() for pair in pairs]) for k in (0, 1))
    place = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
    point = place + 0.1 * rng.standard_normal(place.shape)

    def energy(x, first, second, rest):
        length = jnp.sqrt(jnp.sum((x[first] - x[second]) ** 2, axis=-1))
        return jnp.sum((length - rest) ** 2) / 2

    constants = (first, second, rng.uniform(0.8, 1.2, len(first)))
    return Scenario(energy, point, constants, num_nonzeros=4 * (side**2 + 2 * len(first)))


def _membrane(rng: np.random.Generator, *, side: int) -> Scenario:
    """Energy of a loaded membrane, sum |grad u|^2 / 2 + u^4 / 4 - f u, zero around: the 5-point stencil."""
    import jax.numpy as jnp

    def energy(u, load):
        v = jnp.pad(u, 1)
        slopes = jnp.sum(jnp.diff(v[:, 1:-1], axis=0) ** 2) + jnp.sum(jnp.diff(v[1:-1], axis=1) ** 2)
        return slopes / 2 + jnp.sum(u**4 / 4 - load * u)

    def derivative(u, load):
        line = 2 * np.eye(side) - np.eye(side, k=1) - np.eye(side, k=-1)
        stiffness = np.kron(line, np.eye(side)) + np.kron(np.eye(side), line)
        return (stiffness + np.diag(3 * np.asarray(u, np.float64).ravel() ** 2)).reshape(4 * (side,))

    point, load = rng.standard_normal((2, side, side))
    return Scenario(energy, point, (load,), derivative=derivative, num_nonzeros=5 * side**2 - 4 * side)


def _beam_energy(rng: np.random.Generator, *, nodes: int) -> Scenario:
    """Energy of a bent rod, sum (t_(i+1) - t_i)^2 / 2 + g sum of heights sin t_1 + ... + sin t_i: diagonal and a band.

    The heights are sums of sines of single angles, so the weight adds only to the diagonal.

    Source: Euler's elastica (1744).
    """
    import jax.numpy as jnp

    def energy(t):
        return 20.0 * jnp.sum(jnp.diff(t) ** 2) / 2 + jnp.sum(jnp.cumsum(jnp.sin(t)))

    def derivative(t):
        bend = np.diff(np.eye(nodes), axis=0)
        weight = np.arange(nodes, 0, -1) * np.sin(np.asarray(t, np.float64))
        return 20 * bend.T @ bend - np.diag(weight)

    # The reader of the program sees the cumulative sum and not that it is linear in the sines.
    return Scenario(energy, 0.3 * rng.standard_normal(nodes), derivative=derivative, num_nonzeros=3 * nodes - 2)


def _factor_loss(rng: np.random.Generator, *, shape: tuple[int, int], rank: int) -> Scenario:
    """Half the squared error of a matrix factorisation, |U V' - Y|^2 / 2, in both factors, a PyTree."""
    import jax.numpy as jnp

    point = {"left": rng.standard_normal((shape[0], rank)), "right": rng.standard_normal((shape[1], rank))}
    loss = lambda x, y: jnp.sum((x["left"] @ x["right"].T - y) ** 2) / 2
    return Scenario(loss, point, (rng.standard_normal(shape),))


def _separable(rng: np.random.Generator, *, size: int) -> Scenario:
    """A separable penalty, sum a_i (sqrt(1 + x_i^2) - 1); second derivatives a (1 + x^2)^(-3/2), a diagonal.

    Source: Charbonnier et al. (1994).
    """
    import jax.numpy as jnp

    derivative = lambda x, a: np.diag(np.asarray(a, np.float64) * (1 + np.asarray(x, np.float64) ** 2) ** -1.5)
    fun = lambda x, a: jnp.sum(a * (jnp.sqrt(1.0 + x**2) - 1.0))
    return Scenario(
        fun, rng.standard_normal(size), (rng.uniform(0.5, 2, size),), derivative=derivative, num_nonzeros=size
    )


HESSIANS = {
    "valley": [
        tuned("Rosenbrock", _rosenbrock, size=10, dtype="float64", tags=["banded"], closed_form=True),
        held_out("long Rosenbrock", _rosenbrock, size=1000, dtype="float64", tags=["banded"], closed_form=True),
    ],
    "two variables": [
        tuned("Beale", _two_variables, which="beale", dtype="float64", tags=["dense"]),
        held_out("Himmelblau", _two_variables, which="himmelblau", tags=["dense"], closed_form=True),
    ],
    "network loss": [
        tuned("network loss", _network_loss, widths=(6, 12, 5), batch=64, activation="tanh", tags=["dense", "pytree"]),
        held_out(
            "deep network loss",
            _network_loss,
            widths=(4, 9, 9, 9, 3),
            batch=40,
            activation="silu",
            tags=["dense", "pytree"],
        ),
    ],
    "regression": [
        tuned(
            "logistic regression",
            _likelihood,
            rows=400,
            features=30,
            link="logistic",
            dtype="float64",
            tags=["dense"],
            closed_form=True,
        ),
        held_out(
            "Poisson regression", _likelihood, rows=500, features=240, link="poisson", tags=["dense"], closed_form=True
        ),
    ],
    "mixture": [
        tuned("mixture loss", _mixture_loss, dimension=2, components=4, points=150, dtype="float64", tags=["pytree"]),
        held_out(
            "larger mixture loss",
            _mixture_loss,
            dimension=5,
            components=8,
            points=120,
            dtype="float64",
            tags=["pytree"],
        ),
    ],
    "particles": [
        tuned("Lennard-Jones", _lennard_jones, atoms=13, listed=False, dtype="float64", tags=["dense", "gather"]),
        held_out(
            "Lennard-Jones of neighbours",
            _lennard_jones,
            atoms=125,
            listed=True,
            dtype="float64",
            tags=["sparse", "gather"],
        ),
        tuned("net of springs", _springs, side=11, tags=["sparse", "gather"]),
        held_out("small net of springs", _springs, side=5, dtype="float64", tags=["sparse", "gather"]),
    ],
    "lattice": [
        tuned("field on a square", _phi4, shape=(16, 16), tags=["banded", "periodic"]),
        held_out("field on a cube", _phi4, shape=(8, 8, 8), dtype="float64", tags=["banded", "periodic"]),
        held_out("rotors", _rotors, side=25, tags=["banded"]),
    ],
    "barrier": [
        tuned(
            "log barrier", _barrier, size=50, rows=80, local=False, dtype="float64", tags=["dense"], closed_form=True
        ),
        held_out("chained barrier", _barrier, size=800, rows=0, local=True, dtype="float64", tags=["banded"]),
    ],
    "membrane": [
        tuned("minimal surface", _minimal_surface, side=16, dtype="float64", tags=["banded"]),
        held_out("larger minimal surface", _minimal_surface, side=30, tags=["banded"]),
        held_out("loaded membrane", _membrane, side=20, dtype="float64", tags=["banded"], closed_form=True),
    ],
    "border": [
        tuned("arrowhead energy", _arrow_energy, size=500, border=1, dtype="float64", tags=["arrowhead"]),
        held_out("bordered energy", _arrow_energy, size=900, border=3, tags=["arrowhead"]),
    ],
    "control": [
        tuned("steering", _control, steps=30, controls=1, dtype="float64", tags=["scan", "dense"]),
        held_out("long steering", _control, steps=110, controls=2, dtype="float64", tags=["scan", "dense"]),
    ],
    "factorisation": [
        tuned("factorisation loss", _factor_loss, shape=(15, 12), rank=3, tags=["pytree"]),
        held_out("wider factorisation loss", _factor_loss, shape=(40, 35), rank=4, dtype="float64", tags=["pytree"]),
    ],
    "separable": [
        tuned("separable penalty", _separable, size=1000, tags=["diagonal"], closed_form=True),
        held_out("elastica", _beam_energy, nodes=300, dtype="float64", tags=["banded"], closed_form=True),
    ],
}

CASES = collect("hessian", HESSIANS)
