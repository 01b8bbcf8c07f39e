"""Geometry and fits: cameras, hands, interferometers, curves."""

import numpy as np

from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES"]


def _workload(rng: np.random.Generator, *, which: str, **sizes: int) -> Scenario:
    """A workload of ``scenarios.workloads``, with its closed form: camera, curve or phase delay.

    Source: Agarwal et al., Bundle adjustment in the large (2010); github.com/jax-ml/jax issue 215.
    """
    import jax

    from jaxcalc.scenarios import workloads

    make = {"camera": workloads.camera, "curve": workloads.curve, "phase delay": workloads.phase_delay}[which]
    return make(jax.random.key(int(rng.integers(2**31))), **sizes)


def _bundle_adjustment(rng: np.random.Generator, *, cameras: int, points: int, observations: int) -> Scenario:
    """Reprojection residuals of many points in many cameras, f (1 + k1 |p|^2 + k2 |p|^4) p - observed, by gathers.

    A residual depends on 9 numbers of its camera and 3 of its point.

    Source: Agarwal et al., Bundle adjustment in the large (2010); ADBench (Srajer et al. 2018).
    """
    import jax

    from jaxcalc.scenarios import workloads

    seen = rng.permutation(cameras * points)[:observations]

    def one(camera, point):
        turned = workloads.rotate(camera[:3], point) + camera[3:6]
        p = -turned[:2] / turned[2]
        square = p @ p
        return camera[6] * (1.0 + square * (camera[7] + camera[8] * square)) * p

    def residuals(x, which, where, pixels):
        return jax.vmap(one)(x["cameras"][which], x["points"][where]) - pixels

    pose = np.concatenate([0.3 * rng.standard_normal((cameras, 3)), np.tile([0.1, -0.2, -5.0], (cameras, 1))], axis=1)
    lens = np.tile([5.0, -0.1, 0.02], (cameras, 1))
    point = {"cameras": np.concatenate([pose, lens], axis=1), "points": rng.standard_normal((points, 3))}
    constants = (seen // points, seen % points, rng.standard_normal((observations, 2)))
    return Scenario(residuals, point, constants, num_nonzeros=24 * observations)


def _hand(rng: np.random.Generator, *, bones: int, vertices: int, local: bool) -> Scenario:
    """A skinned hand: pose angles turn a tree of bones, vertices follow with blended weights, minus what was seen.

    x_v = sum_b w_vb T_b(pose) r_v; with ``local``, every vertex also slides on its surface by two numbers of its own:
    a few dense columns beside blocks.

    Source: Taylor et al. (2014), as in ADBench's hand tracking (Srajer et al. 2018), on a drawn skeleton.
    """
    import jax.numpy as jnp

    parents = [max(0, b - 1) if b % 4 != 1 else 0 for b in range(bones)]
    offset = np.concatenate([np.zeros((1, 3)), rng.uniform(-0.3, 0.6, (bones - 1, 3))])
    weights = rng.dirichlet(np.full(bones, 0.3), vertices)
    rest, seen = rng.standard_normal((2, vertices, 3))
    tangents = rng.standard_normal((vertices, 2, 3))

    def turn(angles):
        (a, b, c), (d, e, f) = jnp.cos(angles), jnp.sin(angles)
        row = lambda *entries: jnp.stack(entries)
        return jnp.stack(
            [
                row(b * c, d * e * c - a * f, a * e * c + d * f),
                row(b * f, d * e * f + a * c, a * e * f - d * c),
                row(-e, d * b, a * b),
            ]
        )

    def residuals(x, offset, weights, rest, seen, tangents):
        frames = [(turn(x["pose"][0]), x["place"])]
        for bone in range(1, bones):
            rotation, place = frames[parents[bone]]
            frames.append((rotation @ turn(x["pose"][bone]), place + rotation @ offset[bone]))
        rotations, places = (jnp.stack(parts) for parts in zip(*frames, strict=True))
        body = rest + jnp.einsum("va,vac->vc", x["slide"], tangents) if local else rest
        return jnp.einsum("vb,bij,vj->vi", weights, rotations, body) + weights @ places - seen

    point = {"pose": 0.4 * rng.standard_normal((bones, 3)), "place": rng.standard_normal(3)}
    if local:
        point["slide"] = 0.1 * rng.standard_normal((vertices, 2))
    return Scenario(residuals, point, (offset, weights, rest, seen, tangents))


def _arm(rng: np.random.Generator, *, joints: int) -> Scenario:
    """Every joint of a planar arm in its angles, x_k = sum_(j<=k) l_j (cos, sin)(t_1 + ... + t_j): block triangular."""
    import jax.numpy as jnp

    def reach(angles, lengths):
        heading = jnp.cumsum(angles)
        return jnp.stack([jnp.cumsum(lengths * jnp.cos(heading)), jnp.cumsum(lengths * jnp.sin(heading))], axis=1)

    def derivative(angles, lengths):
        heading, l = np.cumsum(np.asarray(angles, np.float64)), np.asarray(lengths, np.float64)  # noqa: E741
        by_heading = np.tri(joints)[:, None, :] * np.stack([-l * np.sin(heading), l * np.cos(heading)])[None]
        return by_heading @ np.tri(joints)

    constants = (rng.uniform(0.5, 1.0, joints),)
    return Scenario(
        reach, 0.3 * rng.standard_normal(joints), constants, derivative=derivative, num_nonzeros=joints * (joints + 1)
    )


def _exponentials(rng: np.random.Generator, *, terms: int, samples: int) -> Scenario:
    """Residuals of a sum of exponentials, r_i = sum_k c_k exp(-l_k t_i) - y_i.

    Source: MGH problem 17 (More, Garbow and Hillstrom 1981), lengthened.
    """
    import jax.numpy as jnp

    def residual(x, time, seen):
        return jnp.exp(-time[:, None] * x["rate"]) @ x["height"] - seen

    point = {"height": rng.uniform(0.5, 2.0, terms), "rate": np.geomspace(0.3, 8.0, terms)}
    return Scenario(residual, point, (np.linspace(0, 4, samples), rng.standard_normal(samples)))


def _spectrum(rng: np.random.Generator, *, peaks: int, samples: int) -> Scenario:
    """A spectrum of Lorentzian peaks on a slope, y(f) = a + b f + sum_k h_k / (1 + ((f - c_k) / w_k)^2)."""

    def spectrum(x, frequency):
        height, center, width = x[:-2].reshape(3, peaks)
        shape = 1.0 / (1.0 + ((frequency[:, None] - center) / width) ** 2)
        return x[-2] + x[-1] * frequency + shape @ height

    peak = [rng.uniform(0.5, 2, peaks), np.linspace(0.1, 0.9, peaks), rng.uniform(0.03, 0.1, peaks)]
    return Scenario(spectrum, np.concatenate([*peak, [0.2, -0.1]]), (np.linspace(0, 1, samples),))


JACOBIANS = {
    "cameras": [
        tuned("camera", _workload, which="camera", outputs=160, tags=["tall", "arrowhead"], closed_form=True),
        tuned(
            "small bundle adjustment",
            _bundle_adjustment,
            cameras=3,
            points=20,
            observations=45,
            dtype="float64",
            tags=["gather", "pytree"],
        ),
        held_out(
            "bundle adjustment",
            _bundle_adjustment,
            cameras=12,
            points=150,
            observations=400,
            dtype="float64",
            tags=["gather", "pytree"],
        ),
    ],
    "interferometer": [
        tuned("phase delay", _workload, which="phase delay", tags=["tall", "block diagonal"], closed_form=True),
        held_out(
            "fewer sources",
            _workload,
            which="phase delay",
            sources=6,
            antennas=300,
            channels=8,
            dtype="float64",
            tags=["tall", "block diagonal"],
            closed_form=True,
        ),
    ],
    "skeleton": [
        tuned("hand tracking", _hand, bones=9, vertices=300, local=False, dtype="float64", tags=["tall", "pytree"]),
        held_out(
            "hand on its surface",
            _hand,
            bones=13,
            vertices=200,
            local=True,
            dtype="float64",
            tags=["arrowhead", "pytree"],
        ),
        held_out("robot arm", _arm, joints=30, tags=["block triangular"], closed_form=True),
    ],
    "curve fit": [
        tuned("curve", _workload, which="curve", outputs=1000, tags=["tall"], closed_form=True),
        tuned("sum of exponentials", _exponentials, terms=3, samples=400, dtype="float64", tags=["tall", "pytree"]),
        held_out("spectrum", _spectrum, peaks=8, samples=2500, tags=["tall"]),
        held_out("five exponentials", _exponentials, terms=5, samples=33, dtype="float64", tags=["tall", "pytree"]),
    ],
}

CASES = collect("jacobian", JACOBIANS)
