"""Scalar functions whose Laplacian, or Hessian, is asked for: wavefunctions and networks of physics."""

import numpy as np

from jaxcalc import checks
from jaxcalc.functions.derivatives.case import Case, Instance, hessian, laplacian
from jaxcalc.functions.derivatives.networks import dense, layers

__all__ = ["CASES"]


def _network(rng: np.random.Generator, *, widths: tuple[int, ...], activation: str) -> Instance:
    """A dense network R^n -> R, as a physics-informed network for a high-dimensional equation has it.

    Source: Dangel, Siebert et al., Collapsing Taylor Mode Automatic Differentiation (2025).
    """
    fun = lambda x, p: dense(p, x, activation)[0]
    return Instance(fun, rng.standard_normal(widths[0]), (layers(rng, widths),))


def _electron_network(
    rng: np.random.Generator, *, electrons: int, widths: tuple[int, ...], activation: str
) -> Instance:
    """The same network on every electron, summed, f(x) = sum_i sum_o net(x_i)_o: its Hessian is block diagonal.

    Source: the README of folx, one walker of its batch.
    """
    import jax.numpy as jnp

    fun = lambda x, p: jnp.sum(dense(p, x, activation))
    return Instance(fun, rng.standard_normal((electrons, widths[0])), (layers(rng, widths),))


def _oscillator(rng: np.random.Generator, *, size: int, excited: bool) -> Instance:
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
    return Instance(first if excited else ground, point, (rng.uniform(0.5, 1.5, size),), derivative)


def _jastrow(rng: np.random.Generator, *, electrons: int, nuclei: int) -> Instance:
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
    return Instance(log_factor, rng.standard_normal((electrons, 3)), constants)


def _residual_network(rng: np.random.Generator, *, size: int, depth: int, loop: str) -> Instance:
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
            return Instance(scanned, rng.standard_normal(size), (weights, bias))
        case "fori":
            return Instance(counted, rng.standard_normal(size), (weights, bias))
        case _:
            raise checks.unknown("residual network", "loop", loop, ("scan", "fori"))


def _fixed_point(rng: np.random.Generator, *, size: int, steps: int) -> Instance:
    """A self-consistent field by a ``while_loop`` of known count, h <- tanh(x + W h) / 2 from 0, f = sum h."""
    import jax.numpy as jnp
    from jax import lax

    def fun(x, weights):
        mean_field = lambda state: (state[0] + 1, jnp.tanh(x + weights @ state[1]) / 2)
        return jnp.sum(lax.while_loop(lambda state: state[0] < steps, mean_field, (0, jnp.zeros_like(x)))[1])

    return Instance(fun, rng.standard_normal(size), (rng.standard_normal((size, size)) / np.sqrt(size),))


def _relu_network(rng: np.random.Generator, *, widths: tuple[int, ...]) -> Instance:
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
    return Instance(fun, rng.standard_normal(widths[0]), (layers(rng, widths),), derivative)


def _slater(rng: np.random.Generator, *, electrons: int, features: int) -> Instance:
    """log |psi| of a Slater determinant of network orbitals under an envelope, log |det phi_j(x_i)| - sum |x_i|.

    Source: Pfau et al., FermiNet (2020), without its stream of pairs.
    """
    import jax.numpy as jnp

    parameters = layers(rng, (4, features, electrons))

    def log_psi(x, p):
        radius = jnp.sqrt(jnp.sum(x**2, axis=1, keepdims=True))
        orbitals = dense(p, jnp.concatenate([x, radius], axis=1), "tanh")
        return jnp.linalg.slogdet(orbitals)[1] - jnp.sum(radius)

    return Instance(log_psi, rng.standard_normal((electrons, 3)), (parameters,))


def _radial(rng: np.random.Generator, *, dimension: int, power: float) -> Instance:
    """A power of the distance, f = |x|^p; lap f = p (p + n - 2) |x|^(p - 2), zero for p = 2 - n: harmonic."""
    import jax.numpy as jnp

    def derivative(x):
        return power * (power + dimension - 2) * np.sum(np.asarray(x, np.float64) ** 2) ** (power / 2 - 1)

    return Instance(lambda x: jnp.sum(x**2) ** (power / 2), rng.uniform(0.5, 1.0, dimension), derivative=derivative)


CASES: tuple[Case, ...] = (
    hessian("wavefunction", "wavefunction", "tuned", "float64", "small", _slater, "dense", electrons=4, features=16),
    hessian(
        "larger wavefunction",
        "wavefunction",
        "held out",
        "float64",
        "small",
        _slater,
        "dense",
        electrons=10,
        features=24,
    ),
    hessian(
        "electrons apart",
        "network of electrons",
        "tuned",
        "float32",
        "small",
        _electron_network,
        "block diagonal",
        electrons=25,
        widths=(3, 16, 1),
        activation="silu",
    ),
    hessian(
        "many electrons apart",
        "network of electrons",
        "held out",
        "float64",
        "large",
        _electron_network,
        "block diagonal",
        electrons=80,
        widths=(3, 24, 24, 2),
        activation="tanh",
    ),
    laplacian(
        "silu network of electrons",
        "network of electrons",
        "tuned",
        "float32",
        "large",
        _electron_network,
        "block diagonal",
        electrons=100,
        widths=(4, *(100,) * 10),
        activation="silu",
    ),
    laplacian(
        "gelu network of electrons",
        "network of electrons",
        "held out",
        "float64",
        "small",
        _electron_network,
        "block diagonal",
        electrons=40,
        widths=(3, *(64,) * 5, 8),
        activation="gelu",
    ),
    laplacian(
        "tanh network",
        "dense network",
        "tuned",
        "float32",
        "small",
        _network,
        "dense",
        widths=(50, 256, 256, 128, 128, 1),
        activation="tanh",
    ),
    laplacian(
        "wide tanh network",
        "dense network",
        "held out",
        "float32",
        "small",
        _network,
        "dense",
        widths=(5, 768, 768, 512, 512, 1),
        activation="tanh",
    ),
    laplacian("oscillators", "oscillator", "tuned", "float64", "small", _oscillator, "dense", size=12, excited=False),
    laplacian(
        "excited oscillators",
        "oscillator",
        "held out",
        "float64",
        "large",
        _oscillator,
        "diagonal",
        size=300,
        excited=True,
    ),
    laplacian(
        "Jastrow factor",
        "Jastrow factor",
        "tuned",
        "float64",
        "small",
        _jastrow,
        "dense",
        "gather",
        electrons=10,
        nuclei=0,
    ),
    laplacian(
        "Jastrow factor with nuclei",
        "Jastrow factor",
        "held out",
        "float32",
        "small",
        _jastrow,
        "dense",
        "gather",
        electrons=24,
        nuclei=6,
    ),
    laplacian(
        "residual network",
        "loop",
        "tuned",
        "float32",
        "small",
        _residual_network,
        "scan",
        "dense",
        size=40,
        depth=12,
        loop="scan",
    ),
    laplacian(
        "counted residual network",
        "loop",
        "held out",
        "float64",
        "small",
        _residual_network,
        "scan",
        "slices",
        "dense",
        size=24,
        depth=8,
        loop="fori",
    ),
    laplacian("mean field", "loop", "held out", "float64", "small", _fixed_point, "while", "dense", size=30, steps=9),
    laplacian(
        "relu network squared",
        "relu network",
        "tuned",
        "float32",
        "small",
        _relu_network,
        "custom jvp",
        "kink",
        "dense",
        widths=(20, 64, 64, 4),
    ),
    laplacian(
        "wide relu network squared",
        "relu network",
        "held out",
        "float64",
        "small",
        _relu_network,
        "custom jvp",
        "kink",
        "dense",
        widths=(60, 200, 3),
    ),
    laplacian(
        "Slater determinant", "wavefunction", "tuned", "float64", "small", _slater, "dense", electrons=6, features=32
    ),
    laplacian(
        "larger Slater determinant",
        "wavefunction",
        "held out",
        "float64",
        "small",
        _slater,
        "dense",
        electrons=14,
        features=32,
    ),
    laplacian("harmonic", "radial", "tuned", "float64", "small", _radial, "dense", dimension=3, power=-1.0),
    laplacian(
        "power of the distance", "radial", "held out", "float64", "small", _radial, "dense", dimension=100, power=3.0
    ),
)
