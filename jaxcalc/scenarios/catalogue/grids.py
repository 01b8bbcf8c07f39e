"""Residuals on grids and graphs: finite differences, borders, cells that do not talk to each other."""

import numpy as np

from jaxcalc import checks
from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES"]


def _heat(rng: np.random.Generator, *, inputs: int, depth: int) -> Scenario:
    """Explicit steps of the heat equation on a rod, from ``scenarios.workloads``; Jacobian (I + c D)^depth."""
    import jax

    from jaxcalc.scenarios import workloads

    return workloads.heat(jax.random.key(int(rng.integers(2**31))), inputs=inputs, depth=depth)


def _burgers(rng: np.random.Generator, *, nodes: int) -> Scenario:
    """A step of Burgers' equation on a ring, r = u - u0 + dt (u (u_+ - u_-) / 2h - nu (u_+ - 2u + u_-) / h^2).

    Source: Burgers (1948).
    """
    import jax.numpy as jnp

    step, dt, viscosity = 1.0 / nodes, 1e-3, 0.01
    past = np.sin(2 * np.pi * np.arange(nodes) / nodes)

    def residual(u, past):
        after, before = jnp.roll(u, -1), jnp.roll(u, 1)
        flux = u * (after - before) / (2 * step) - viscosity * (after - 2.0 * u + before) / step**2
        return u - past + dt * flux

    return Scenario(residual, past + 0.1 * rng.standard_normal(nodes), (past,), num_nonzeros=3 * nodes)


def _allen_cahn(rng: np.random.Generator, *, nodes: int) -> Scenario:
    """The steady Allen-Cahn equation, r = e^2 u'' + u - u^3 with ends held at -1 and 1: tridiagonal.

    Source: Allen and Cahn (1979).
    """
    import jax.numpy as jnp

    scale = 0.02**2 * (nodes + 1) ** 2

    def residual(u):
        ends = jnp.ones(1, u.dtype)
        v = jnp.concatenate([-ends, u, ends])
        return scale * (v[:-2] - 2.0 * u + v[2:]) + u - u**3

    def derivative(u):
        main = 1.0 - 3.0 * np.asarray(u, np.float64) ** 2 - 2.0 * scale
        return np.diag(main) + scale * (np.eye(nodes, k=1) + np.eye(nodes, k=-1))

    point = np.tanh(np.linspace(-3, 3, nodes)) + 0.05 * rng.standard_normal(nodes)
    return Scenario(residual, point, derivative=derivative, num_nonzeros=3 * nodes - 2)


def _beam(rng: np.random.Generator, *, nodes: int) -> Scenario:
    """A beam on a nonlinear foundation, r = u'''' + k u + u^3 - q, clamped: five diagonals.

    Source: Timoshenko, Strength of Materials.
    """
    import jax.numpy as jnp

    def residual(u, load):
        v = jnp.pad(u, 2)
        return v[:-4] - 4.0 * v[1:-3] + 6.0 * u - 4.0 * v[3:-1] + v[4:] + 0.1 * u + u**3 - load

    point, load = rng.standard_normal(nodes), rng.uniform(0.0, 1.0, nodes)
    return Scenario(residual, point, (load,), num_nonzeros=5 * nodes - 6)


def _kuramoto_sivashinsky(rng: np.random.Generator, *, nodes: int) -> Scenario:
    """The right-hand side of Kuramoto-Sivashinsky on a ring, -u u' - u'' - u'''': five diagonals and two corners.

    Source: Kuramoto (1978); Sivashinsky (1977).
    """
    import jax.numpy as jnp

    def rate(u):
        a, b, c, d = (jnp.roll(u, k) for k in (2, 1, -1, -2))
        return -u * (c - b) / 2.0 - (c - 2.0 * u + b) - (a - 4.0 * b + 6.0 * u - 4.0 * c + d)

    return Scenario(rate, rng.standard_normal(nodes), num_nonzeros=5 * nodes)


def _bratu(rng: np.random.Generator, *, side: int) -> Scenario:
    """Bratu's problem on a square, r = h^-2 (u_E + u_W + u_N + u_S - 4 u) + 6 exp(u), zero around: 5-point stencil.

    Source: MINPACK-2 test problems (Averick et al. 1992).
    """
    import jax.numpy as jnp

    scale = float((side + 1) ** 2)

    def residual(u):
        v = jnp.pad(u, 1)
        around = v[2:, 1:-1] + v[:-2, 1:-1] + v[1:-1, 2:] + v[1:-1, :-2]
        return scale * (around - 4.0 * u) + 6.0 * jnp.exp(u)

    return Scenario(residual, 0.3 * rng.standard_normal((side, side)), num_nonzeros=5 * side**2 - 4 * side)


def _diffusion(rng: np.random.Generator, *, side: int) -> Scenario:
    """Nonlinear diffusion by a compact 9-point scheme, D9 (u + u^3), weights (1, 4, 1; 4, -20, 4; 1, 4, 1) / 6.

    Source: Collatz, The Numerical Treatment of Differential Equations (1960).
    """
    import jax.numpy as jnp

    def residual(u):
        v = jnp.pad(u + u**3, 1)
        sides = v[2:, 1:-1] + v[:-2, 1:-1] + v[1:-1, 2:] + v[1:-1, :-2]
        corners = v[2:, 2:] + v[:-2, 2:] + v[2:, :-2] + v[:-2, :-2]
        return (4.0 * sides + corners - 20.0 * v[1:-1, 1:-1]) / 6.0

    return Scenario(residual, rng.standard_normal((side, side)), num_nonzeros=(3 * side - 2) ** 2)


def _reaction_diffusion(rng: np.random.Generator, *, side: int, model: str) -> Scenario:
    """Two species on a torus, u' = D_u lap u + f(u, v), v' = D_v lap v + g(u, v): 5-point stencils, coupled in a cell.

    Source: Gray and Scott (1984); Prigogine and Lefever's Brusselator (1968), as in the SciML sparse benchmark.
    """
    import jax.numpy as jnp

    def lap(w):
        return sum(jnp.roll(w, k, axis) for k in (1, -1) for axis in (0, 1)) - 4.0 * w

    def gray_scott(state):
        u, v = state["u"], state["v"]
        return {
            "u": 0.16 * lap(u) - u * v**2 + 0.035 * (1.0 - u),
            "v": 0.08 * lap(v) + u * v**2 - 0.1 * v,
        }

    def brusselator(state):
        u, v = state[0], state[1]
        return jnp.stack([10.0 * lap(u) + 1.0 + u**2 * v - 4.4 * u, 10.0 * lap(v) + 3.4 * u - u**2 * v])

    u, v = rng.uniform(0.3, 1.0, (2, side, side))
    count = 12 * side**2
    match model:
        case "gray-scott":
            return Scenario(gray_scott, {"u": u, "v": v}, num_nonzeros=count)
        case "brusselator":
            return Scenario(brusselator, np.stack([u, v]), num_nonzeros=count)
        case _:
            raise checks.unknown("reaction diffusion", "model", model, ("gray-scott", "brusselator"))


def _cahn_hilliard(rng: np.random.Generator, *, side: int) -> Scenario:
    """Cahn-Hilliard on a torus, c' = lap(c^3 - c - g lap c): two 5-point stencils make 13 points.

    Source: Cahn and Hilliard (1958).
    """
    import jax.numpy as jnp

    def lap(w):
        return sum(jnp.roll(w, k, axis) for k in (1, -1) for axis in (0, 1)) - 4.0 * w

    return Scenario(lambda c: lap(c**3 - c - 0.5 * lap(c)), rng.uniform(-1, 1, (side, side)), num_nonzeros=13 * side**2)


def _arrowhead(rng: np.random.Generator, *, size: int) -> Scenario:
    """y_0 = sum_j a_j x_j^2, y_i = x_i^3 + sin(x_0 a_i): a dense row, a dense column and the diagonal."""
    import jax.numpy as jnp

    def fun(x, a):
        return jnp.concatenate([jnp.sum(a * x**2)[None], x[1:] ** 3 + jnp.sin(x[0] * a[1:])])

    def derivative(x, a):
        x, a = np.asarray(x, np.float64), np.asarray(a, np.float64)
        matrix = np.diag(3.0 * x**2)
        matrix[:, 0] = a * np.cos(x[0] * a)
        matrix[0] = 2.0 * a * x
        return matrix

    return Scenario(
        fun, rng.standard_normal(size), (rng.uniform(0.5, 2.0, size),), derivative=derivative, num_nonzeros=3 * size - 2
    )


def _bordered(rng: np.random.Generator, *, size: int) -> Scenario:
    """Arclength continuation of a two-point problem: r_i = u_- - 2u + u_+ + l exp(u), and one equation of length.

    A tridiagonal matrix with a dense last row and a dense last column.

    Source: Keller (1977).
    """
    import jax.numpy as jnp

    nodes = size - 1

    def residual(x, tangent):
        u, load = x[:-1], x[-1]
        v = jnp.pad(u, 1)
        inner = v[:-2] - 2.0 * u + v[2:] + load * jnp.exp(u)
        return jnp.append(inner, jnp.sum(tangent * x**2))

    count = 3 * nodes - 2 + nodes + size
    return Scenario(residual, 0.5 * rng.standard_normal(size), (rng.uniform(0.5, 1.0, size),), num_nonzeros=count)


def _thermostat(rng: np.random.Generator, *, masses: int) -> Scenario:
    """A chain of oscillators with one Nose-Hoover thermostat z: q' = p, p' = F(q) - z p, z' = sum p^2 - N.

    Neighbours couple through springs with a cubic term; z is a dense row and a dense column.

    Source: Nose (1984), Hoover (1985); the chain of Fermi, Pasta, Ulam and Tsingou.
    """
    import jax.numpy as jnp

    def rate(state):
        q, p, z = state["q"], state["p"], state["z"]
        stretch = jnp.diff(jnp.pad(q, 1))
        tension = stretch + 0.25 * stretch**3
        return {"q": p, "p": jnp.diff(tension) - z * p, "z": jnp.sum(p**2) - masses}

    point = {"q": rng.standard_normal(masses), "p": rng.standard_normal(masses), "z": np.asarray(0.3)}
    return Scenario(rate, point, num_nonzeros=masses + (3 * masses - 2) + 2 * masses + masses)


def _calibration(rng: np.random.Generator, *, sensors: int, shared: int) -> Scenario:
    """Sensors with a gain and an offset of their own and shared coefficients: r_i = g_i p(t_i) + o_i - y_i.

    p is a polynomial whose coefficients all residuals share: two diagonals beside a few dense columns.
    """
    import jax.numpy as jnp

    place, seen = rng.uniform(0.2, 1.0, sensors), rng.standard_normal(sensors)

    def residual(x, place, seen):
        return x["gain"] * jnp.polyval(x["shared"], place) + x["offset"] - seen

    point = {
        "gain": rng.uniform(0.5, 1.5, sensors),
        "offset": rng.standard_normal(sensors),
        "shared": rng.standard_normal(shared),
    }
    return Scenario(residual, point, (place, seen), num_nonzeros=sensors * (2 + shared))


def _edges(rng: np.random.Generator, nodes: int, edges: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct pairs i < j, sources and targets (edges,): a ring, so that no node is alone, and chords."""
    pairs = {(min(i, (i + 1) % nodes), max(i, (i + 1) % nodes)) for i in range(nodes)}
    while len(pairs) < edges:
        i, j = sorted(int(k) for k in rng.integers(nodes, size=2))
        if i != j:
            pairs.add((i, j))
    source, target = np.array(sorted(pairs)).T
    return source, target


def _graph_diffusion(rng: np.random.Generator, *, nodes: int, edges: int) -> Scenario:
    """Nonlinear diffusion on a graph, y_i = sum over edges of w tanh(x_j - x_i), by ``segment_sum``."""
    import jax
    import jax.numpy as jnp

    source, target = _edges(rng, nodes, edges)

    def rate(x, source, target, weight):
        flow = weight * jnp.tanh(x[target] - x[source])
        return jax.ops.segment_sum(flow, source, nodes) - jax.ops.segment_sum(flow, target, nodes)

    constants = (source, target, rng.uniform(0.5, 1.5, len(source)))
    return Scenario(rate, rng.standard_normal(nodes), constants, num_nonzeros=nodes + 2 * len(source))


def _power_flow(rng: np.random.Generator, *, buses: int, lines: int) -> Scenario:
    """Power balance of a grid, P_i = sum_j V_i V_j (G cos + B sin)(t_i - t_j), Q_i likewise, on the grid's lines.

    Source: the AC power flow equations, as in MATPOWER (Zimmerman et al. 2011).
    """
    import jax.numpy as jnp

    source, target = _edges(rng, buses, lines)
    ends = np.concatenate([source, target]), np.concatenate([target, source])
    conductance, susceptance = rng.uniform(0.1, 1.0, (2, len(source)))

    def balance(x, start, end, g, b, shunt):
        v, angle = x["magnitude"], x["angle"]
        turn = angle[start] - angle[end]
        product = v[start] * v[end]
        p = jnp.zeros_like(v).at[start].add(product * (g * jnp.cos(turn) + b * jnp.sin(turn)))
        q = jnp.zeros_like(v).at[start].add(product * (g * jnp.sin(turn) - b * jnp.cos(turn)))
        return p + shunt * v**2, q + shunt * v**2

    point = {"magnitude": rng.uniform(0.95, 1.05, buses), "angle": 0.1 * rng.standard_normal(buses)}
    constants = (*ends, np.tile(conductance, 2), np.tile(susceptance, 2), rng.uniform(0.5, 1.5, buses))
    return Scenario(balance, point, constants, num_nonzeros=4 * (buses + 2 * len(source)))


def _kinetics(rng: np.random.Generator, *, cells: int, model: str) -> Scenario:
    """Reaction rates cell by cell: blocks that do not talk to each other.

    Source: Robertson (1966), HIRES of Schaefer (1975), both in Hairer and Wanner, Solving ODEs II.
    """
    import jax.numpy as jnp

    def robertson(y):
        a, b, c = y[:, 0], y[:, 1], y[:, 2]
        slow, fast, quick = 0.04 * a, 1e4 * b * c, 3e7 * b**2
        return jnp.stack([fast - slow, slow - fast - quick, quick], axis=1)

    def hires(y):
        a, b, c, d, e, f, g, h = jnp.moveaxis(y, 1, 0)
        bind = 280.0 * f * h
        rates = [
            -1.71 * a + 0.43 * b + 8.32 * c + 0.0007,
            1.71 * a - 8.75 * b,
            -10.03 * c + 0.43 * d + 0.035 * e,
            8.32 * b + 1.71 * c - 1.12 * d,
            -1.745 * e + 0.43 * f + 0.43 * g,
            -bind + 0.69 * d + 1.71 * e - 0.43 * f + 0.69 * g,
            bind - 1.81 * g,
            -bind + 1.81 * g,
        ]
        return jnp.stack(rates, axis=1)

    match model:
        case "robertson":
            return Scenario(robertson, rng.uniform(0, 1, (cells, 3)) * [1.0, 1e-4, 1.0], num_nonzeros=7 * cells)
        case "hires":
            return Scenario(hires, rng.uniform(0, 1, (cells, 8)), num_nonzeros=25 * cells)
        case _:
            raise checks.unknown("kinetics", "model", model, ("robertson", "hires"))


JACOBIANS = {
    "stencil in one dimension": [
        tuned("heat", _heat, inputs=256, depth=4, tags=["banded"], closed_form=True),
        tuned("Burgers residual", _burgers, nodes=500, dtype="float64", tags=["banded", "periodic"]),
        tuned("beam", _beam, nodes=40, dtype="float64", tags=["banded"]),
        held_out("Allen-Cahn residual", _allen_cahn, nodes=1200, tags=["banded"], closed_form=True),
        held_out("Kuramoto-Sivashinsky", _kuramoto_sivashinsky, nodes=1000, tags=["banded", "periodic"]),
        held_out("long heat", _heat, inputs=400, depth=12, dtype="float64", tags=["banded"], closed_form=True),
        held_out("small beam", _beam, nodes=15, tags=["banded"]),
    ],
    "stencil in two dimensions": [
        tuned("5-point stencil", _bratu, side=24, dtype="float64", tags=["banded"]),
        tuned("Gray-Scott", _reaction_diffusion, side=16, model="gray-scott", tags=["banded", "periodic", "pytree"]),
        held_out("9-point stencil", _diffusion, side=30, tags=["banded"]),
        held_out(
            "Brusselator",
            _reaction_diffusion,
            side=20,
            model="brusselator",
            dtype="float64",
            tags=["banded", "periodic"],
        ),
        held_out("Cahn-Hilliard", _cahn_hilliard, side=28, dtype="float64", tags=["banded", "periodic"]),
    ],
    "border": [
        tuned("arrowhead", _arrowhead, size=1000, tags=["arrowhead"], closed_form=True),
        tuned("thermostat", _thermostat, masses=150, dtype="float64", tags=["arrowhead", "banded", "pytree"]),
        held_out("bordered band", _bordered, size=1000, tags=["arrowhead", "banded"]),
        held_out("small arrowhead", _arrowhead, size=18, dtype="float64", tags=["arrowhead"], closed_form=True),
        held_out(
            "sensor calibration", _calibration, sensors=400, shared=4, dtype="float64", tags=["arrowhead", "pytree"]
        ),
    ],
    "graph": [
        tuned("graph diffusion", _graph_diffusion, nodes=300, edges=700, tags=["gather", "scatter"]),
        held_out(
            "power flow", _power_flow, buses=200, lines=320, dtype="float64", tags=["gather", "scatter", "pytree"]
        ),
    ],
    "kinetics": [
        tuned("Robertson cells", _kinetics, cells=200, model="robertson", dtype="float64", tags=["block diagonal"]),
        held_out("HIRES cells", _kinetics, cells=120, model="hires", dtype="float64", tags=["block diagonal"]),
    ],
}

CASES = collect("jacobian", JACOBIANS)
