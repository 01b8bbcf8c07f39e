"""Workloads: maps R^n -> R^m from practice, of any size, with exact Jacobians, to measure what a derivative costs.

Each is data: a function of the differentiated input and of the constants beside it, a point to evaluate at, and the
closed form of the derivative. Constants are arguments, not closed over, since XLA computes with constants at compile
time; loops are unrolled, since XLA counts a loop's body once. Points and constants are drawn on the host, so that
nothing is compiled but what is measured.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.scenarios.scenario import Scenario

__all__ = [
    "NAMES",
    "Name",
    "array",
    "camera",
    "curve",
    "dense_layer",
    "generator",
    "heat",
    "make",
    "phase_delay",
    "rotate",
    "softmax_layer",
    "transforms",
]

Name = Literal["curve", "dense layer", "softmax layer", "camera", "heat", "phase delay"]
NAMES: tuple[Name, ...] = get_args(Name)


def generator(key: jax.Array) -> np.random.Generator:
    """A generator of random numbers on the host, from a typed key."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def array(values: Any) -> jax.Array:
    """An array in JAX's default floating-point type."""
    return jax.device_put(np.asarray(values, jnp.result_type(float)))  # jnp.asarray compiles a copy for every new shape


def make(
    name: Name, key: jax.Array, *, inputs: int | None = None, outputs: int | None = None, depth: int | None = None
) -> Scenario:
    """A workload by name; a size left out takes that workload's default.

    Args:
      name: one of ``NAMES``.
      key: a typed key for the constants and the point.
      inputs: n. outputs: m. depth: time steps of the heat equation.

    Returns:
      The ``Scenario`` in JAX's default dtype, with its Jacobian in closed form.

    Raises:
      ValueError: if the name is unknown, or a size is given that this workload does not have.
    """
    sizes = {"inputs": inputs, "outputs": outputs, "depth": depth}
    given = {field: size for field, size in sizes.items() if size is not None}
    match name:
        case "curve":
            build, takes = curve, {"outputs"}
        case "dense layer":
            build, takes = dense_layer, {"inputs", "outputs"}
        case "softmax layer":
            build, takes = softmax_layer, {"inputs", "outputs"}
        case "camera":
            build, takes = camera, {"outputs"}
        case "heat":
            build, takes = heat, {"inputs", "depth"}
        case "phase delay":
            build, takes = phase_delay, set()
        case _:
            raise checks.unknown("make", "name", name, NAMES)
    if extra := sorted(set(given) - takes):
        settable = ", ".join(sorted(takes)) or "nothing"
        raise ValueError(f"make: {name!r} does not take {', '.join(extra)}; it can be sized by: {settable}.")
    return build(key, **given)


def transforms(scenario: Scenario) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Every derivative of a scenario as a program of its arguments, ready to be compiled, counted and timed.

    Args:
      scenario: the map.

    Returns:
      name -> (function, its arguments): ``value``, ``jvp`` and ``vjp`` (the direction, all ones, is an argument too),
      ``jacfwd``, ``jacrev``, and of a map with one output ``grad`` and ``hessian``.
    """
    fun, plain = scenario.fun, scenario.arguments

    def jvp(direction, x, *constants):
        return jax.jvp(lambda x: fun(x, *constants), (x,), (direction,))

    def vjp(cotangent, x, *constants):
        out, pull = jax.vjp(lambda x: fun(x, *constants), x)
        return out, pull(cotangent)

    def ones(like):
        return jax.tree.map(lambda leaf: jax.device_put(np.ones(leaf.shape, leaf.dtype)), like)

    found = {
        "value": (fun, plain),
        "jvp": (jvp, (ones(scenario.x), *plain)),
        "vjp": (vjp, (ones(jax.eval_shape(fun, *plain)), *plain)),
        "jacfwd": (jax.jacfwd(fun), plain),
        "jacrev": (jax.jacrev(fun), plain),
    }
    if scenario.num_outputs == 1:
        scalar = lambda *arguments: fun(*arguments).reshape(())
        found |= {"grad": (jax.grad(scalar), plain), "hessian": (jax.hessian(scalar), plain)}
    return found


def curve(key: jax.Array, *, outputs: int = 256) -> Scenario:
    """A curve R -> R^m, the harmonics of one angle: one input, any number of outputs.

    gamma_k(t) = sin(k t + phase_k) / k;   gamma_k'(t) = cos(k t + phase_k), k = 1..m.

    Args:
      key: a typed key for the phases. outputs: m.
    """
    phase = array(generator(key).uniform(0.0, 2 * np.pi, outputs))
    frequency = array(np.arange(1, outputs + 1))
    fun = lambda t, k, phase: jnp.sin(k * t + phase) / k
    return Scenario(fun, array(0.7), (frequency, phase), derivative=lambda t, k, phase: jnp.cos(k * t + phase))


def dense_layer(key: jax.Array, *, inputs: int = 64, outputs: int = 64) -> Scenario:
    """One layer of a network, R^n -> R^m.

    f(x) = tanh(W x + b);   df/dx = diag(1 - f^2) W.

    Args:
      key: a typed key for W, b and x. inputs: n. outputs: m.
    """
    x, constants = _affine(key, inputs, outputs)

    def jacobian(x, weights, bias):
        return (1.0 - jnp.tanh(weights @ x + bias) ** 2)[:, None] * weights

    fun = lambda x, weights, bias: jnp.tanh(weights @ x + bias)
    return Scenario(fun, x, constants, derivative=jacobian)


def softmax_layer(key: jax.Array, *, inputs: int = 64, outputs: int = 10) -> Scenario:
    """A softmax layer, R^n -> the m-simplex.

    p(x) = softmax(W x + b);   dp/dx = (diag(p) - p p^T) W.

    Args:
      key: a typed key for W, b and x. inputs: n. outputs: m.
    """
    x, constants = _affine(key, inputs, outputs)

    def jacobian(x, weights, bias):
        p = jax.nn.softmax(weights @ x + bias)
        return p[:, None] * (weights - p @ weights)

    fun = lambda x, weights, bias: jax.nn.softmax(weights @ x + bias)
    return Scenario(fun, x, constants, derivative=jacobian)


def _affine(key: jax.Array, inputs: int, outputs: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """A point, and weights and bias that keep activations of order one."""
    draw = generator(key)
    point, bias = array(draw.standard_normal(inputs)), array(0.1 * draw.standard_normal(outputs))
    return point, (array(draw.standard_normal((outputs, inputs)) / np.sqrt(inputs)), bias)


def camera(key: jax.Array, *, outputs: int = 64) -> Scenario:
    """One camera of a bundle adjustment: m/2 points seen by it, R^(9 + 3 m/2) -> R^m reprojection residuals, in pixels.

    With camera (r, t, f, k1, k2) in R^9 and point X in R^3:
    P = R(r) X + t,   p = -(P_1, P_2) / P_3,   residual = f (1 + k1 |p|^2 + k2 |p|^4) p - observed,
    R(r) the rotation by |r| about r (Rodrigues). The input is the camera's 9 numbers, then every point's 3. The
    Jacobian is sparse: a residual depends on the camera and on its own point, 12 of the inputs.

    Args:
      key: a typed key for camera, points and observations. outputs: m, twice the number of points.

    Raises:
      ValueError: if ``outputs`` is odd or below 2.

    Source: Snavely's camera model, as in Agarwal et al., Bundle adjustment in the large (ECCV 2010).
    """
    if outputs < 2 or outputs % 2:
        raise ValueError(f"camera: outputs must be even and at least 2 (a residual in R^2 per point), got {outputs}.")
    draw = generator(key)
    pose = [*0.3 * draw.standard_normal(3), 0.1, -0.2, -5.0]  # the camera looks down its -z
    lens = [500.0, -0.1, 0.02]
    x = array([*pose, *lens, *draw.standard_normal(3 * (outputs // 2))])
    observed = array(200.0 * draw.standard_normal(outputs))
    return Scenario(_reproject, x, (observed,), derivative=_reproject_jacobian, num_nonzeros=12 * outputs)


def rotate(vector: jax.Array, point: jax.Array) -> jax.Array:
    """Rodrigues' rotation of a point by the angle ``|vector|`` about the axis ``vector``.

    R(r) X = X + a (r x X) + b r x (r x X),   a = sin|r| / |r|,   b = (1 - cos|r|) / |r|^2.

    Args:
      vector: r, shape (3,), radians, not zero.
      point: X, shape (3,).
    """
    angle = jnp.sqrt(vector @ vector)
    turned = jnp.cross(vector, point)
    return point + jnp.sin(angle) / angle * turned + (1 - jnp.cos(angle)) / angle**2 * jnp.cross(vector, turned)


def _reproject(x: jax.Array, observed: jax.Array) -> jax.Array:
    """Residuals of all points, flattened to (m,)."""
    rotation, translation, (focal, k1, k2) = x[:3], x[3:6], x[6:9]

    def project(point):
        seen = rotate(rotation, point) + translation
        p = -seen[:2] / seen[2]
        square = p @ p
        return focal * (1.0 + square * (k1 + k2 * square)) * p

    return jax.vmap(project)(x[9:].reshape(-1, 3)).ravel() - observed


def _reproject_jacobian(x: jax.Array, observed: jax.Array) -> jax.Array:
    """The closed form, block by block: chain of projection, rotation (Gallego and Yezzi 2015, eq. 8) and distortion."""
    r, translation, (focal, k1, k2) = x[:3], x[3:6], x[6:9]
    points = x[9:].reshape(-1, 3)
    eye = jnp.eye(3)
    rotation = jax.vmap(rotate, (None, 0), 1)(r, eye)
    # dR(r)X/dr = -R [X]_x (r r^T + (R^T - I) [r]_x) / |r|^2
    turn = (jnp.outer(r, r) + (rotation.T - eye) @ _cross_matrix(r)) / (r @ r)

    def block(point):
        seen = rotation @ point + translation
        p = -seen[:2] / seen[2]
        square = p @ p
        scale = 1.0 + square * (k1 + k2 * square)
        distorted = focal * (scale * jnp.eye(2) + 2.0 * (k1 + 2.0 * k2 * square) * jnp.outer(p, p))
        perspective = -jnp.concatenate([jnp.eye(2), p[:, None]], axis=1) / seen[2]
        by_seen = distorted @ perspective
        lens = jnp.stack([scale * p, focal * square * p, focal * square**2 * p], axis=1)
        by_rotation = -by_seen @ rotation @ _cross_matrix(point) @ turn
        return jnp.concatenate([by_rotation, by_seen, lens], axis=1), by_seen @ rotation

    by_camera, by_point = jax.vmap(block)(points)
    count = len(points)
    diagonal = jnp.einsum("iab,ij->iajb", by_point, jnp.eye(count)).reshape(2 * count, 3 * count)
    return jnp.concatenate([by_camera.reshape(2 * count, 9), diagonal], axis=1)


def _cross_matrix(v: jax.Array) -> jax.Array:
    """[v]_x, the matrix of w -> v x w."""
    zero = jnp.zeros_like(v[0])
    return jnp.stack([jnp.stack([zero, -v[2], v[1]]), jnp.stack([v[2], zero, -v[0]]), jnp.stack([-v[1], v[0], zero])])


def heat(key: jax.Array, *, inputs: int = 256, depth: int = 4) -> Scenario:
    """Explicit steps of the heat equation on a rod, R^n -> R^n: a stencil, whose Jacobian is banded.

    u_i <- u_i + c (u_(i-1) - 2 u_i + u_(i+1)), ends at zero, c = 1/4, ``depth`` times;   Jacobian (I + c D)^depth.

    Args:
      key: a typed key for the initial temperature. inputs: n, nodes of the rod. depth: time steps, unrolled.
    """

    def steps(u, courant):
        def step(u, _):
            padded = jnp.pad(u, 1)
            return u + courant * (padded[:-2] - 2.0 * u + padded[2:]), None

        return jax.lax.scan(step, u, None, length=depth, unroll=True)[0]

    def jacobian(u, courant):
        second = jnp.eye(inputs, k=1) - 2.0 * jnp.eye(inputs) + jnp.eye(inputs, k=-1)
        return jnp.linalg.matrix_power(jnp.eye(inputs) + courant * second, depth)

    u = array(generator(key).standard_normal(inputs))
    band = sum(inputs - abs(k) for k in range(-depth, depth + 1))
    return Scenario(steps, u, (array(0.25),), derivative=jacobian, num_nonzeros=band)


def phase_delay(key: jax.Array, *, sources: int = 10, antennas: int = 128, channels: int = 16) -> Scenario:
    """Phases of a radio interferometer, R^(10 x 2) -> R^(10 x 128 x 16): few inputs, very many outputs.

    phase = (u l + v m + w (sqrt(1 - l^2 - m^2) - 1)) nu for every source (l, m), antenna (u, v, w) and frequency nu;
    d phase / d (l, m) = ((u - w l / n) nu, (v - w m / n) nu), n = sqrt(1 - l^2 - m^2), zero between different sources.

    Args:
      key: a typed key for directions and antennas.
      sources: directions on the sky, differentiated in. antennas, channels: sizes of the constants.

    Source: github.com/jax-ml/jax issue 215, where ``jacrev`` of it took 8 GB for an output of 6.5 MB.
    """
    draw = generator(key)
    lm = array(draw.uniform(-0.5, 0.5, (sources, 2)))  # inside the unit disc
    uvw = array(draw.standard_normal((antennas, 3)))
    frequency = array(np.linspace(0.856e9, 2 * 0.856e9, channels))

    def delay(lm, uvw, frequency):
        l, m = lm[:, 0, None, None], lm[:, 1, None, None]  # noqa: E741
        n = jnp.sqrt(1.0 - l**2 - m**2) - 1.0
        u, v, w = uvw[None, :, 0, None], uvw[None, :, 1, None], uvw[None, :, 2, None]
        return (u * l + v * m + w * n) * frequency

    def jacobian(lm, uvw, frequency):
        n = jnp.sqrt(1.0 - jnp.sum(lm**2, axis=1))
        slope = uvw[None, :, :2] - uvw[None, :, 2:] * (lm / n[:, None])[:, None, :]
        return jnp.einsum("sad,c,st->sactd", slope, frequency, jnp.eye(len(lm)))

    count = 2 * sources * antennas * channels
    return Scenario(delay, lm, (uvw, frequency), derivative=jacobian, num_nonzeros=count)
