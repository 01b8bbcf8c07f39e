"""Scalar functions whose Laplacian, or Hessian, is asked for: wavefunctions and networks of physics."""

import numpy as np

from jaxcalc import checks
from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.catalogue.networks import dense, layers
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES"]


def _network(rng: np.random.Generator, *, widths: tuple[int, ...], activation: str) -> Scenario:
    """A dense network R^n -> R, as a physics-informed network for a high-dimensional equation has it.

    Source: Dangel, Siebert et al., Collapsing Taylor Mode Automatic Differentiation (2025).
    """
    fun = lambda x, p: dense(p, x, activation)[0]
    return Scenario(fun, rng.standard_normal(widths[0]), (layers(rng, widths),))


def _electron_network(
    rng: np.random.Generator, *, electrons: int, widths: tuple[int, ...], activation: str
) -> Scenario:
    """The same network on every electron, summed, f(x) = sum_i sum_o net(x_i)_o: its Hessian is block diagonal.

    Source: the README of folx, one walker of its batch.
    """
    import jax.numpy as jnp

    fun = lambda x, p: jnp.sum(dense(p, x, activation))
    return Scenario(fun, rng.standard_normal((electrons, widths[0])), (layers(rng, widths),))


def _oscillator(rng: np.random.Generator, *, size: int, excited: bool) -> Scenario:
    """Oscillators in their ground state, psi = exp(-sum w_i x_i^2 / 2), or log |psi| with the first of each excited.

    lap psi = psi sum (w^2 x^2 - w);  log |psi| = sum log |x_i| - w_i x_i^2 / 2, lap = -sum 1 / x_i^2 + w_i.
    """
    import jax.numpy as jnp

    def ground(x, w):
        return jnp.exp(-jnp.sum(w * x**2) / 2)

    def first(x, w):
        return jnp.sum(jnp.log(jnp.abs(x)) - w * x**2 / 2)

    def derivative(x, w):
        x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
        if excited:
            return -np.sum(x**-2 + w)
        return np.exp(-np.sum(w * x**2) / 2) * np.sum(w**2 * x**2 - w)

    point = rng.uniform(0.3, 1.0, size) * rng.choice([-1.0, 1.0], size)
    return Scenario(first if excited else ground, point, (rng.uniform(0.5, 1.5, size),), derivative=derivative)


def _jastrow(rng: np.random.Generator, *, electrons: int, nuclei: int) -> Scenario:
    """log of a Jastrow factor, sum_(i<j) r_ij / (2 (1 + b r_ij)) - sum_iA Z_A r_iA / (1 + c r_iA).

    Source: Jastrow (1955), in Pade form.
    """
    import jax.numpy as jnp

    first, second = np.triu_indices(electrons, 1)

    def log_factor(x, place, charge, first, second):
        apart = jnp.sqrt(jnp.sum((x[first] - x[second]) ** 2, axis=-1))
        total = jnp.sum(0.5 * apart / (1.0 + 0.8 * apart))
        if nuclei:
            reach = jnp.sqrt(jnp.sum((x[:, None] - place) ** 2, axis=-1))
            total = total - jnp.sum(charge * reach / (1.0 + 0.3 * reach))
        return total

    constants = (rng.standard_normal((nuclei, 3)), rng.uniform(1, 3, nuclei), first, second)
    return Scenario(log_factor, rng.standard_normal((electrons, 3)), constants)


def _residual_network(rng: np.random.Generator, *, size: int, depth: int, loop: str) -> Scenario:
    """A residual network h <- h + tanh(W_k h + b_k) / depth, f = sum h^2, by a ``scan`` or a ``fori_loop``."""
    import jax.numpy as jnp
    from jax import lax

    weights = rng.standard_normal((depth, size, size)) / np.sqrt(size)
    bias = 0.1 * rng.standard_normal((depth, size))

    def scanned(x, weights, bias):
        step = lambda h, layer: (h + jnp.tanh(layer[0] @ h + layer[1]) / depth, None)
        return jnp.sum(lax.scan(step, x, (weights, bias))[0] ** 2)

    def counted(x, weights, bias):
        step = lambda k, h: h + jnp.tanh(weights[k] @ h + bias[k]) / depth
        return jnp.sum(lax.fori_loop(0, depth, step, x) ** 2)

    match loop:
        case "scan":
            return Scenario(scanned, rng.standard_normal(size), (weights, bias))
        case "fori":
            return Scenario(counted, rng.standard_normal(size), (weights, bias))
        case _:
            raise checks.unknown("residual network", "loop", loop, ("scan", "fori"))


def _fixed_point(rng: np.random.Generator, *, size: int, steps: int) -> Scenario:
    """A self-consistent field by a ``while_loop`` of known count, h <- tanh(x + W h) / 2 from 0, f = sum h."""
    import jax.numpy as jnp
    from jax import lax

    def fun(x, weights):
        mean_field = lambda state: (state[0] + 1, jnp.tanh(x + weights @ state[1]) / 2)
        return jnp.sum(lax.while_loop(lambda state: state[0] < steps, mean_field, (0, jnp.zeros_like(x)))[1])

    return Scenario(fun, rng.standard_normal(size), (rng.standard_normal((size, size)) / np.sqrt(size),))


def _relu_network(rng: np.random.Generator, *, widths: tuple[int, ...]) -> Scenario:
    """A rectified network under a square, f = |net(x)|^2: between kinks lap f = 2 |J|_F^2, J its Jacobian."""
    import jax.numpy as jnp

    def derivative(x, parameters):
        h, slope = np.asarray(x, np.float64), np.eye(widths[0])
        for k, (weight, bias) in enumerate(parameters):
            weight = np.asarray(weight, np.float64)
            h, slope = h @ weight + np.asarray(bias, np.float64), slope @ weight
            if k < len(parameters) - 1:
                h, slope = np.maximum(h, 0), slope * (h > 0)
        return 2 * np.sum(slope**2)

    fun = lambda x, p: jnp.sum(dense(p, x, "relu") ** 2)
    return Scenario(fun, rng.standard_normal(widths[0]), (layers(rng, widths),), derivative=derivative)


def _slater(rng: np.random.Generator, *, electrons: int, features: int) -> Scenario:
    """log |psi| of a Slater determinant of network orbitals under an envelope, log |det phi_j(x_i)| - sum |x_i|.

    Source: Pfau et al., FermiNet (2020), without its stream of pairs.
    """
    import jax.numpy as jnp

    parameters = layers(rng, (4, features, electrons))

    def log_psi(x, p):
        radius = jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))
        orbitals = dense(p, jnp.concatenate([x, radius], axis=1), "tanh")
        return jnp.linalg.slogdet(orbitals)[1] - jnp.sum(radius)

    return Scenario(log_psi, rng.standard_normal((electrons, 3)), (parameters,))


def _radial(rng: np.random.Generator, *, dimension: int, power: float) -> Scenario:
    """A power of the distance, f = |x|^p; lap f = p (p + n - 2) |x|^(p - 2), zero for p = 2 - n: harmonic."""
    import jax.numpy as jnp

    def derivative(x):
        return power * (power + dimension - 2) * np.sum(np.asarray(x, np.float64) ** 2) ** (power / 2 - 1)

    return Scenario(lambda x: jnp.sum(x**2) ** (power / 2), rng.uniform(0.5, 1.0, dimension), derivative=derivative)


HESSIANS = {
    "wavefunction": [
        tuned("wavefunction", _slater, electrons=4, features=16, dtype="float64", tags=["dense"]),
        held_out("larger wavefunction", _slater, electrons=10, features=24, dtype="float64", tags=["dense"]),
    ],
    "network of electrons": [
        tuned(
            "electrons apart",
            _electron_network,
            electrons=25,
            widths=(3, 16, 1),
            activation="silu",
            tags=["block diagonal"],
        ),
        held_out(
            "many electrons apart",
            _electron_network,
            electrons=80,
            widths=(3, 24, 24, 2),
            activation="tanh",
            dtype="float64",
            tags=["block diagonal"],
        ),
    ],
}

LAPLACIANS = {
    "network of electrons": [
        tuned(
            "silu network of electrons",
            _electron_network,
            electrons=100,
            widths=(4, *(100,) * 10),
            activation="silu",
            tags=["block diagonal"],
        ),
        held_out(
            "gelu network of electrons",
            _electron_network,
            electrons=40,
            widths=(3, *(64,) * 5, 8),
            activation="gelu",
            dtype="float64",
            tags=["block diagonal"],
        ),
    ],
    "dense network": [
        tuned("tanh network", _network, widths=(50, 256, 256, 128, 128, 1), activation="tanh", tags=["dense"]),
        held_out("wide tanh network", _network, widths=(5, 768, 768, 512, 512, 1), activation="tanh", tags=["dense"]),
    ],
    "oscillator": [
        tuned("oscillators", _oscillator, size=12, excited=False, dtype="float64", tags=["dense"], closed_form=True),
        held_out(
            "excited oscillators",
            _oscillator,
            size=300,
            excited=True,
            dtype="float64",
            tags=["diagonal"],
            closed_form=True,
        ),
    ],
    "Jastrow factor": [
        tuned("Jastrow factor", _jastrow, electrons=10, nuclei=0, dtype="float64", tags=["dense", "gather"]),
        held_out("Jastrow factor with nuclei", _jastrow, electrons=24, nuclei=6, tags=["dense", "gather"]),
    ],
    "loop": [
        tuned("residual network", _residual_network, size=40, depth=12, loop="scan", tags=["scan", "dense"]),
        held_out(
            "counted residual network",
            _residual_network,
            size=24,
            depth=8,
            loop="fori",
            dtype="float64",
            tags=["scan", "slices", "dense"],
        ),
        held_out("mean field", _fixed_point, size=30, steps=9, dtype="float64", tags=["while", "dense"]),
    ],
    "relu network": [
        tuned(
            "relu network squared",
            _relu_network,
            widths=(20, 64, 64, 4),
            tags=["custom jvp", "kink", "dense"],
            closed_form=True,
        ),
        held_out(
            "wide relu network squared",
            _relu_network,
            widths=(60, 200, 3),
            dtype="float64",
            tags=["custom jvp", "kink", "dense"],
            closed_form=True,
        ),
    ],
    "wavefunction": [
        tuned("Slater determinant", _slater, electrons=6, features=32, dtype="float64", tags=["dense"]),
        held_out("larger Slater determinant", _slater, electrons=14, features=32, dtype="float64", tags=["dense"]),
    ],
    "radial": [
        tuned("harmonic", _radial, dimension=3, power=-1.0, dtype="float64", tags=["dense"], closed_form=True),
        held_out(
            "power of the distance",
            _radial,
            dimension=100,
            power=3.0,
            dtype="float64",
            tags=["dense"],
            closed_form=True,
        ),
    ],
}

CASES = collect("hessian", HESSIANS) + collect("laplacian", LAPLACIANS)
