"""What do entropy, divergence, mutual information, marginals and partition functions come to, by every route?

Closed forms, quadrature and draws side by side; and where the textbook sentence has an exception.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import FACTS, Finding, Variable, above, below, close, equal, jax, jnp, judge_facts, less, pack_facts

kind = "host"
_CHANCE = 4.0  # a hundred comparisons stay below 4 standard deviations in 199 of 200 experiments, if all is well


class Config(lab.Config):
    pairs: int = pydantic.Field(5000, ge=2)
    """random pairs of distributions over three outcomes"""
    draws: int = pydantic.Field(1 << 18, ge=1024)
    """of every estimate"""
    spins: int = pydantic.Field(10, ge=3, le=16)
    """of the ring whose states are enumerated"""


VARIABLES = {
    **FACTS,
    "distance": Variable(("distance",), "", "of the means of two normals, in standard deviations of the first"),
    "divergence": Variable(("which", "distance"), "nat", "by quadrature"),
    "which": Variable(("which",), "", "of the two normals p and q"),
    "closed": Variable(("which", "distance"), "nat", "the same in closed form; NaN where there is none"),
    "sampled": Variable(("which", "distance"), "nat", "the same by draws; NaN where it is no mean over one of them"),
    "sampled_error": Variable(("which", "distance"), "nat", "its standard error"),
    "flip": Variable(("flip",), "", "chance that a channel flips a fair bit"),
    "shared_information": Variable(("flip",), "nat", "mutual information of what goes in and what comes out"),
    "channel_theory": Variable(("flip",), "nat", "log 2 less the entropy of the flip"),
    "coupling": Variable(("coupling",), "", "of neighbouring spins, over the temperature"),
    "log_partition": Variable(("coupling",), "nat", "log Z over the spins, by a sum over all states"),
    "partition_theory": Variable(("coupling",), "nat", "the same by the transfer matrix"),
}
_WHICH = ("KL(p, q)", "KL(q, p)", "JS(p, q)")
_SCALE = 2.0  # standard deviation of the second normal


def run(config, key):
    # One program: apart, each small integral is compiled by itself.
    @jax.jit
    def numbers(first, second):
        return _integrals(config, first) | _tables(config), _normals(config, second) | _curves(config)

    facts, curves = numbers(*jax.random.split(key))
    return {**pack_facts(facts), "which": np.array(_WHICH), **curves}


def _integrals(config, key):
    from jaxcalc.functions.distributions import exponential, normal
    from jaxcalc.transforms.expectation import expectation, marginal, total_mass, variance
    from jaxcalc.transforms.information import entropy

    log_normal = lambda x, *args: normal(*args).log_density(x)
    rule = {"method": "gauss-legendre", "num_points": 128}
    line = {"support": (-12.0, 12.0), **rule}
    one, other = jax.random.split(key)
    drawn = lambda fun, key: expectation(
        fun, lambda: normal(0.0, 1.0), method="score", control_variate="none", num_samples=config.draws
    )(key)
    within, cosine = drawn(lambda x: 1.0 * (abs(x) < 1), one), drawn(jnp.cos, other)
    rho, x = 0.6, jnp.linspace(-3.0, 3.0, 13)
    conditional = lambda x, y: log_normal(x, 0.0, 1.0) + log_normal(y, rho * x, (1 - rho**2) ** 0.5)
    left = jax.vmap(marginal(conditional, 0, **line))(x)  # over the first, which it is conditioned on
    die = {"support": np.arange(1.0, 7), "method": "sum"}
    even = lambda x: jnp.full_like(x, -np.log(6))
    return {
        "pdf-integrates-to-one": [
            total_mass(log_normal, **line)(),
            total_mass(lambda x: exponential(1.0).log_density(x), support=(0.0, 60.0), **rule)(),
        ],
        "probability-is-integral-of-density": [
            total_mass(log_normal, support=(-1.0, 1.0), **rule)(),
            normal(0.0, 1.0).cdf(1.0) - normal(0.0, 1.0).cdf(-1.0),
            within.value,
            within.standard_error,
        ],
        "expectation-is-integral": [
            expectation(jnp.cos, log_normal, **line)(), np.exp(-0.5), cosine.value, cosine.standard_error,
        ],
        "die-mean-and-variance": [expectation(lambda x: x, even, **die)(), variance(lambda x: x, even, **die)()],
        "marginal-by-integrating-out": left - normal(0.0, 1.0).density(x),
        "entropy-may-be-negative": [
            entropy(lambda x: normal(0.0, 0.1).log_density(x), support=(-1.2, 1.2), **rule)(),
            normal(0.0, 0.1).entropy(),
        ],
    }  # fmt: skip


def _tables(config):
    from jaxcalc.functions.distributions import categorical, kl
    from jaxcalc.functions.information import mutual_information
    from jaxcalc.transforms.expectation import total_mass
    from jaxcalc.transforms.information import cross_entropy, entropy, jensen_shannon_divergence, kl_divergence

    atoms = {"support": np.arange(3.0), "method": "sum"}
    table = lambda i, p: categorical(p).log_density(i)
    p, q = (categorical(jnp.array(row)) for row in ([0.4, 0.3, 0.3], [0.33, 0.33, 0.34]))
    rows = np.random.default_rng(0).dirichlet(np.ones(3), (2, config.pairs))
    over_rows = lambda of: jax.vmap(lambda p, q: of(table, table, **atoms)((p,), (q,)))(*rows)
    there, crossed, mixed = map(over_rows, (kl_divergence, cross_entropy, jensen_shannon_divergence))
    back = kl(categorical(rows[1]), categorical(rows[0]))
    own = jax.vmap(entropy(table, **atoms))(rows[0])
    joint = np.random.default_rng(1).dirichlet(np.ones(12)).reshape(3, 4)
    whole = lambda row: categorical(jnp.ravel(row)).entropy()
    alone = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.0, 0.0, 1.0])
    logits = jnp.array(np.random.default_rng(2).normal(size=9))
    log_sum = jax.nn.logsumexp
    mass = total_mass(lambda i, z: z[i.astype(int)], support=np.arange(9.0), method="sum")
    soft = jax.nn.softmax(logits)
    return {
        "softmax-denominator-is-partition-function": jnp.concatenate(
            [
                jax.grad(log_sum)(logits) - soft,
                jnp.ravel(jax.hessian(log_sum)(logits) - (jnp.diag(soft) - jnp.outer(soft, soft))),
                jnp.log(mass(logits))[None] - log_sum(logits),
            ]
        ),
        "kl-example": [kl(p, q), kl(q, p), kl(p, q) / np.log(2)],
        "kl-definition": jnp.stack([there, kl(categorical(rows[0]), categorical(rows[1])), back]),
        "cross-entropy-is-entropy-and-divergence": crossed - own - there,
        "jensen-shannon-is-bounded": [
            mixed.min(),
            mixed.max(),
            jensen_shannon_divergence(table, table, **atoms)((alone[0],), (alone[1],)),
            kl_divergence(table, table, **atoms)((alone[0],), (alone[1],)) == jnp.inf,
        ],
        "mutual-information-is-entropies": [
            mutual_information(joint),
            whole(joint.sum(0)) + whole(joint.sum(1)) - whole(joint),
            mutual_information(np.outer(joint.sum(1), joint.sum(0))),
        ],
    }


def _normals(config, key):
    """Divergences of a normal and a wider one against the distance of their means."""
    from jaxcalc.functions.distributions import kl, normal
    from jaxcalc.transforms.expectation import expectation
    from jaxcalc.transforms.information import jensen_shannon_divergence, kl_divergence

    distance = jnp.linspace(0.0, 4.0, 17)
    rule = {"support": (-26.0, 30.0), "method": "gauss-legendre", "num_points": 256}
    log_normal = lambda x, *args: normal(*args).log_density(x)
    p, q = (0.0, 1.0), lambda at: (at, _SCALE)
    divergence = kl_divergence(log_normal, log_normal, **rule)
    mixed = jensen_shannon_divergence(log_normal, log_normal, **rule)
    by_rule = lambda at: jnp.stack([divergence(p, q(at)), divergence(q(at), p), mixed(p, q(at))])

    def by_draws(key, at):
        ratio = lambda x: normal(*p).log_density(x) - normal(*q(at)).log_density(x)
        choices = {"method": "score", "control_variate": "none", "num_samples": config.draws // 16}
        there = expectation(ratio, lambda: normal(*p), **choices)(key)
        back = expectation(lambda x: -ratio(x), lambda: normal(*q(at)), **choices)(key)
        none = jnp.full_like(at, jnp.nan)
        both = lambda name: jnp.stack([getattr(there, name), getattr(back, name), none])
        return both("value"), both("standard_error")

    closed = jnp.stack([kl(normal(*p), normal(distance, _SCALE)), kl(normal(distance, _SCALE), normal(*p))])
    sampled, error = jax.jit(jax.vmap(by_draws, out_axes=1))(jax.random.split(key, distance.size), distance)
    return {
        "distance": distance,
        "divergence": jax.jit(jax.vmap(by_rule, out_axes=1))(distance),
        "closed": jnp.concatenate([closed, jnp.full((1, distance.size), jnp.nan)]),
        "sampled": sampled,
        "sampled_error": error,
    }


def _curves(config):
    from jaxcalc.functions.distributions import bernoulli
    from jaxcalc.functions.energy_models import ising_chain, ising_log_partition, spin_states
    from jaxcalc.functions.information import mutual_information
    from jaxcalc.transforms.expectation import total_mass

    flip, coupling = jnp.linspace(0.0, 1.0, 21), jnp.linspace(-2.0, 2.0, 21)
    bit = lambda e: jnp.array([[1 - e, e], [e, 1 - e]]) / 2
    mass = total_mass(ising_chain, support=spin_states(config.spins), method="sum")
    return {
        "flip": flip,
        "shared_information": jax.vmap(lambda e: mutual_information(bit(e)))(flip),
        "channel_theory": np.log(2) - bernoulli(flip).entropy(),
        "coupling": coupling,
        "log_partition": jnp.log(jax.vmap(lambda j: mass(j, 0.3))(coupling)) / config.spins,
        "partition_theory": ising_log_partition(config.spins, coupling, 0.3) / config.spins,
    }


def _three_ways(numbers):
    """Quadrature and a closed form against the ledger, draws within chance."""
    rule, closed, drawn, error = numbers
    return Finding(
        close([rule, closed], [float(closed)] * 2, 1e-9) & close(rule) & below(abs(drawn - rule) / error, _CHANCE),
        measured=f"{rule:.10f}; sampled {drawn:.4f} +- {error:.4f}",
    )


def _example(numbers):
    there, back, bits = numbers
    return Finding(close(there), measured=f"{there:.4f} nats; the other way round {back:.4f}; in bits {bits:.4f}")


def _definition(numbers):
    there, closed, back = np.reshape(numbers, (3, -1))
    return Finding(
        above([there, back], 0.0) & below(abs(there - closed), 1e-12),
        measured=f"at least {min(there.min(), back.min()):.2g}; |KL(p, q) - KL(q, p)| on the average "
        f"{abs(there - back).mean():.3f}",
    )


def _shannon(numbers):
    least, most, apart, infinite = numbers
    return Finding(
        above(least, 0.0) & less(most, np.log(2)) & close(apart, np.log(2), 1e-12) & equal(infinite, 1.0),
        measured=f"{least:.2g} to {most:.4f}; without overlap {apart:.6f}, where KL is infinite",
    )


def _mutual(numbers):
    shared, entropies, independent = numbers
    return Finding(
        close(shared, entropies, 1e-12) & above(shared, 1e-3) & close(independent, 0.0, 1e-12),
        measured=f"{shared:.6f} and {entropies:.6f}; of independent variables {independent:.2g}",
    )


def _negative(numbers):
    rule, closed = numbers
    return Finding(
        close(rule, closed, 1e-9) & less(closed, 0.0),
        measured=f"{closed:.4f} nats of a normal with standard deviation 0.1",
    )


def _divergences_agree(dataset):
    has_closed = dataset.sel(which=list(_WHICH[:2]))
    gap = abs(has_closed.divergence - has_closed.closed)
    off = abs(has_closed.sampled - has_closed.closed) / has_closed.sampled_error
    there, back = (dataset.divergence.sel(which=name) for name in _WHICH[:2])
    return Finding(
        below(gap, 1e-9) & below(off, _CHANCE) & less(there.isel(distance=0), back.isel(distance=0)),
        measured=f"quadrature off by at most {float(gap.max()):.2g}; draws by {float(off.max()):.2f} standard errors",
    )


def _channel(dataset):
    return Finding(
        below(abs(dataset.shared_information - dataset.channel_theory), 1e-12)
        & close(dataset.shared_information.sel(flip=0.5, method="nearest"), 0.0, 1e-12)
    )


def _partition(dataset):
    return Finding(below(abs(dataset.log_partition / dataset.partition_theory - 1), 1e-12))


def figures(dataset):
    figure, (left, middle, right) = style.subplots(1, 3, width="page", height=2.6)
    colours = dict(zip(_WHICH, ("blue", "vermilion", "green")))
    for name, colour in colours.items():
        at = dataset.sel(which=name)
        look = {"color": style.COLORS[colour], "label": name}
        left.plot(dataset.distance, at.divergence, **look)
        left.errorbar(dataset.distance, at.sampled, 2 * at.sampled_error, fmt="o", ms=3, color=look["color"])
        left.plot(dataset.distance, at.closed, **style.THEORY)
    left.axhline(np.log(2), color=style.COLORS["grey"], lw=0.8)
    look = {"xytext": (0, 2), "textcoords": "offset points", "fontsize": 7, "ha": "right"}
    left.annotate("log 2", (float(dataset.distance[-1]), np.log(2)), **look)
    left.set(xlabel="distance of the means", ylabel="divergence (nat)", yscale="log", ylim=(0.03, 40))
    left.legend(loc="upper left")
    pairs = (
        (middle, "flip", "shared_information", "channel_theory", "chance of a flip", "mutual information (nat)"),
        (right, "coupling", "log_partition", "partition_theory", "coupling $J$", "$\\log Z$ a spin (nat)"),
    )
    for panel, x, values, theory, xlabel, ylabel in pairs:
        panel.plot(dataset[x], dataset[values], "o", color=style.COLORS["blue"])
        panel.plot(dataset[x], dataset[theory], **style.THEORY)
        panel.set(xlabel=xlabel, ylabel=ylabel)
    figure.set_label(
        f"Left: divergences of the normals p (standard deviation 1) and q ({_SCALE:g}) by quadrature (lines), by draws "
        "(points, two standard errors) and in closed form (dashed). Middle: what a channel that flips a fair bit lets "
        "through. Right: log Z of a ring of spins in a field of 0.3, by a sum over all states. Dashed: closed forms."
    )
    return {"information": figure}


claims = {
    **judge_facts(
        {
            "softmax-denominator-is-partition-function": lambda numbers: below(abs(numbers)),
            "pdf-integrates-to-one": lambda numbers: close(numbers, 1.0),
            "probability-is-integral-of-density": _three_ways,
            "expectation-is-integral": _three_ways,
            "kl-example": _example,
            "kl-definition": _definition,
            "die-mean-and-variance": lambda numbers: close(numbers),
            "marginal-by-integrating-out": lambda numbers: below(abs(numbers)),
            "cross-entropy-is-entropy-and-divergence": lambda numbers: below(abs(numbers), 1e-12),
            "jensen-shannon-is-bounded": _shannon,
            "mutual-information-is-entropies": _mutual,
            "entropy-may-be-negative": _negative,
        }
    ),
    "divergence-by-quadrature-and-draws": _divergences_agree,
    "channel-information-is-closed": _channel,
    "ring-partition-function-is-closed": _partition,
}
