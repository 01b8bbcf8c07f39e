"""Is a residual network a discretised ODE, and which one is not?

With shared weights, or weights that vary smoothly from block to block, and branches scaled by 1/L it is Euler's method.
With weights drawn anew for each block it comes to stand still at that scale, and at 1/sqrt(L) it is a discretised
stochastic differential equation.
"""

import itertools

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, below, close, first, jax, jnp, params

kind = "compiled"
REGIMES = ("shared weights, 1/L", "smooth weights, 1/L", "independent weights, 1/L", "independent weights, 1/√L")
_LOOKS = dict(
    zip(
        REGIMES,
        (
            {"color": style.COLORS["blue"], "marker": "o"},
            {"color": style.COLORS["green"], "marker": "^"},
            {"color": style.COLORS["orange"], "marker": "D"},
            {"color": style.COLORS["vermilion"], "marker": "s"},
        ),
        strict=True,
    )
)
_BLOCKS = 10  # of the network that is held against Euler's method, step 1


class Config(lab.Config):
    """Residual networks ``h <- h + scale W tanh(h)`` that are refined over the same unit of time."""

    width: int = pydantic.Field(default=64, gt=0)
    """units"""
    gain: float = pydantic.Field(default=1.5, gt=0)
    """variance of a weight times the width"""
    depths: tuple[int, ...] = pydantic.Field(default=(8, 16, 32, 64, 128, 256), min_length=2)
    """blocks, rising, each a divisor of the next"""
    finest: int = pydantic.Field(default=4096, gt=0)
    """blocks that stand for the limit of a stochastic differential equation"""
    draws: int = pydantic.Field(default=16, ge=2)
    """networks of each kind"""

    @pydantic.model_validator(mode="after")
    def _refines(self):
        chain = (*self.depths, self.finest)
        if any(b % a or b <= a for a, b in itertools.pairwise(chain)):
            raise ValueError(f"each of depths must divide the next, and the last of them finest, got {chain}")
        return self


VARIABLES = {
    "regime": Variable(("regime",), "", "how weights are drawn, and what scales a branch"),
    "depth": Variable(("depth",), "", "blocks"),
    "distance": Variable(("regime", "depth", "draw"), "", "root mean square distance of the end from the limit's"),
    "variation": Variable(("regime", "depth", "draw"), "", "sum over blocks of the mean square of what they add"),
    "moved": Variable(("regime", "depth", "draw"), "", "root mean square distance of the end from the start"),
    "still_theory": Variable(("depth",), "", "distance of independent weights, 1/L, from the start at infinite width"),
    "variation_theory": Variable((), "", "variation of the stochastic differential equation at infinite width"),
    "block": Variable(("block",), "", "blocks passed, as a share of all"),
    "path": Variable(("regime", "unit", "block"), "", "some units of the deepest network"),
    "euler_gap": Variable(("draw",), "", "largest difference between ten blocks and Euler's method with step 1"),
}
_UNITS = 3


def shared(config):
    """Names, depths, and theory at infinite width from inputs of mean square 1."""
    from jaxcalc.functions.gaussian_means import gaussian_mean
    from jaxcalc.transforms.flow import flow

    added = lambda q: config.gain * gaussian_mean(lambda h: jnp.tanh(h) ** 2, q)
    square = flow(lambda _, q, __: added(q), solver="rk4", num_steps=64)(jnp.ones(()), jnp.array([0.0, 1.0]))
    depths = np.array(config.depths)
    return {
        "regime": np.array(REGIMES),
        "depth": depths,
        "block": np.arange(depths[-1] + 1) / depths[-1],
        "still_theory": np.sqrt(float(added(jnp.ones(()))) / depths),
        # What independent increments add to the mean square is their own mean square.
        "variation_theory": float(square[-1]) - 1,
    }


def run(config, key):
    """All regimes and depths, one draw of the weights after the other."""
    drawn = jax.lax.map(lambda key: _networks(config, key), jax.random.split(key, config.draws))
    spread = {name: jnp.moveaxis(drawn[name], 0, -1) for name in ("distance", "variation", "moved")}
    return {**spread, "path": drawn["path"][0], "euler_gap": drawn["euler_gap"]}


def _block(weights, h):
    return weights @ jnp.tanh(h)


def _rms(x):
    return jnp.sqrt(jnp.mean(x**2, -1))


def _networks(config, key):
    """One draw of the weights in every regime: all depths, held against the limit."""
    width, finest = config.width, config.finest
    start_key, shared_key, noise_key = jax.random.split(key, 3)
    size = jnp.sqrt(config.gain / width)
    start = jax.random.normal(start_key, (width,), float)
    start = start / _rms(start)
    pair = size * jax.random.normal(shared_key, (2, width, width), float)
    noise = size * jax.random.normal(noise_key, (finest, width, width), float)
    ends = []
    for frequency in (0.0, 2 * np.pi):
        limit, of_depth = _smooth(pair, frequency, start)
        ends.append((limit, [of_depth(depth) for depth in config.depths]))
    independent = [_independent(noise, start, depth, 1 / depth) for depth in config.depths]
    ends.append((start, independent))
    diffusing = [_independent(noise, start, depth, depth**-0.5) for depth in config.depths]
    ends.append((_independent(noise, start, finest, finest**-0.5)[-1], diffusing))
    paths = jnp.stack([states[-1][:, :_UNITS].T for _, states in ends])
    each = lambda measure: jnp.stack([jnp.stack([measure(h, limit) for h in states]) for limit, states in ends])
    return {
        "distance": each(lambda h, limit: _rms(h[-1] - limit)),
        "variation": each(lambda h, limit: jnp.sum(jnp.mean(jnp.diff(h, axis=0) ** 2, -1))),
        "moved": each(lambda h, limit: _rms(h[-1] - start)),
        "path": paths,
        "euler_gap": _against_euler(pair[0], start),
    }


def _smooth(pair, frequency, start):
    """``(end of the ODE, depth -> states)`` for weights ``A cos(w t) + B sin(w t)``, shared where w is 0."""
    from jaxcalc import models
    from jaxcalc.transforms.flow import flow

    weights = lambda t: pair[0] * jnp.cos(frequency * t) + pair[1] * jnp.sin(frequency * t)
    exact = flow(lambda t, h, pair: _block(weights(t), h), solver="rk4", num_steps=256)

    def of_depth(depth):
        stacked = jax.vmap(weights)(jnp.arange(depth) / depth)
        return models.residual_network(_block, depth, shared=False)(stacked, start, 1 / depth)

    return exact(start, jnp.array([0.0, 1.0]))[-1], of_depth


def _independent(noise, start, depth, scale):
    """States of a network whose weights are sums of the finest one's, so that all depths see one Brownian motion."""
    from jaxcalc import models

    pooled = noise.reshape(depth, -1, *noise.shape[1:]).sum(1) / (len(noise) // depth) ** 0.5
    return models.residual_network(_block, depth, shared=False)(pooled, start, scale)


def _against_euler(weights, start):
    """The largest difference between blocks that share weights, unscaled, and Euler's method with step 1."""
    from jaxcalc import models

    blocks = models.residual_network(_block, _BLOCKS)(weights, start, 1.0)
    field = models.Model(lambda key: weights, _block)
    euler = models.neural_ode(field, solver="euler", num_steps=1).apply(weights, start, jnp.arange(_BLOCKS + 1.0))
    return jnp.abs(blocks - euler).max()


def figures(dataset):
    """A unit's way through the deepest network of each kind; distance from the limit, and roughness, against depth."""
    data = first(dataset, "regime", "depth", "draw", "block", "unit")
    figure, axes = style.subplots(2, 2, width="page", height=5.6)
    path, distance, variation, moved = axes.flat
    for name in REGIMES:
        own = {**_LOOKS[name], "marker": ""}
        path.plot(data.block, data.path.sel(regime=name).T, **own, linewidth=0.9)
    path.set(xlabel="share of the blocks passed", ylabel=f"{_UNITS} units")
    looks = {name: {**look, "label": name} for name, look in _LOOKS.items()}
    common = {"x": "depth", "hue": "regime", "log": "xy", "looks": looks, "legend": None, "xlabel": "blocks L"}
    style.chart(data.distance, axes=distance, slopes={REGIMES[0]: -1.0, REGIMES[3]: -0.5}, **common)
    distance.plot(data.depth, data.still_theory, **style.THEORY)
    distance.set_ylabel("distance of the end from the limit")
    style.chart(data.variation, axes=variation, **common)
    variation.plot(data.depth, data.still_theory**2, **style.THEORY)
    variation.plot(data.depth, 0 * data.depth + float(data.variation_theory), **style.THEORY)
    variation.set_ylabel("quadratic variation")
    style.chart(data.moved, axes=moved, **common)
    moved.plot(data.depth, data.still_theory, **style.THEORY)
    moved.plot(data.depth, 0 * data.depth + float(data.variation_theory) ** 0.5, **style.THEORY)
    moved.set_ylabel("distance of the end from the start")
    for ax in (distance, variation, moved):
        style.ticks(ax.xaxis, data.depth.values)
    figure.legend(*distance.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    figure.set_label(
        f"Residual networks of width {params(dataset)['width']}, medians and quartiles over networks, root mean "
        "squares over units. (a) Some units on their way through the deepest ones. (b) Distance of the end from the "
        "ODE's, from the start (independent weights, 1/L) or from the stochastic differential equation's along the "
        "same Brownian motion (1/√L). (c) Sum of the squares of what blocks add: only where it vanishes is the limit "
        "an ODE. "
        "(d) How far the networks move at all. Dashed: orders 1 and 1/2, and theory at infinite width."
    )
    return {"residual_networks": figure}


def tables(dataset):
    """The exponents of the distance from the limit between the two deepest networks, and roughness there."""
    data = first(dataset, "regime", "depth", "draw")
    return {
        "Residual networks as they deepen": lab.rows(
            "regime",
            {
                "exponent of the distance from the limit": _exponents(data.distance),
                "quadratic variation of the deepest": data.variation.isel(depth=-1).mean("draw", skipna=False),
            },
        )
    }


def _exponents(values):
    """Of root mean squares over draws, between the smallest and the largest depth."""
    square = (values**2).mean("draw", skipna=False)
    ratio = square.isel(depth=-1, drop=True) / square.isel(depth=0, drop=True)
    return 0.5 * np.log(ratio) / np.log(values.depth.values[-1] / values.depth.values[0])


def _euler(dataset):
    data = first(dataset, "regime", "depth", "draw")
    if data.euler_gap.dtype != np.float64:
        raise NotJudged("it takes double precision")
    deepest = data.distance.isel(depth=[-2, -1]).sel(regime=list(REGIMES[:2]))
    order = -_exponents(deepest)
    return Finding(
        below(data.euler_gap, 1e-12) & close(order, 1.0),
        measured=f"largest difference {float(data.euler_gap.max()):.1e}, orders "
        + ", ".join(f"{float(each):.3f}" for each in order),
        figure="residual_networks",
        note="The weights are shared or vary smoothly, and the branches' scale is the step in time.",
    )


def _no_ode(dataset):
    """Independent weights: how the end comes to its limit, and what is left of the roughness."""
    data = first(dataset, "regime", "depth", "draw")
    if data.depth.values[-1] < 8 * data.depth.values[0]:
        raise NotJudged("it takes depths over a factor of 8")
    rates = _exponents(data.distance).sel(regime=list(REGIMES[2:]))
    rough = data.variation.sel(regime=REGIMES[3]).isel(depth=-1).mean("draw", skipna=False)
    return Finding(
        close(rates, -0.5, 0.1) & close(rough, float(data.variation_theory), 0.1, relative=True),
        measured=f"exponents {float(rates[0]):.3f} and {float(rates[1]):.3f}, variation {float(rough):.3f} of "
        f"{float(data.variation_theory):.3f}",
        figure="residual_networks",
    )


claims = {"resnet-is-euler-step": _euler, "independent-weights-give-no-ode": _no_ode}
