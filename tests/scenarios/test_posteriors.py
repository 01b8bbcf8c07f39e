"""The models' densities against SciPy's, at the reference means; starts within their supports."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats as st

from jaxcalc.functions.bijections import real
from jaxcalc.functions.datasets import reference_posteriors
from jaxcalc.scenarios.posteriors import POSTERIORS, posterior

pytestmark = pytest.mark.usefixtures("x64")


def at_the_mean(name):
    """A point of a model whose quantities are its reference's means."""
    problem = posterior(name)
    flat = problem.reference.mean
    if name.startswith("eight"):
        return {"theta_trans": (flat[:8] - flat[8]) / flat[9], "mu": flat[8], "tau": flat[9]}
    ends = np.cumsum([np.size(leaf) for leaf in problem.start.values()])[:-1]
    return {key: part.reshape(np.shape(leaf)) for (key, leaf), part in zip(problem.start.items(), np.split(flat, ends))}


@pytest.mark.parametrize("name", POSTERIORS)
def test_quantities_are_those_of_the_reference(name):
    problem, x = posterior(name), at_the_mean(name)
    np.testing.assert_allclose(problem.quantities(jax.tree.map(jnp.asarray, x)), problem.reference.mean, rtol=1e-12)
    assert len(problem.reference.names) == problem.reference.sd.size and (problem.reference.sd > 0).all()
    for key, leaf in problem.start.items():
        y = problem.support.get(key, real()).inverse(jnp.asarray(leaf))
        assert jnp.isfinite(y).all()


def _eight_schools(x, d):
    y, sigma = map(np.asarray, (d["y"], d["sigma"]))
    prior = (
        st.norm.logpdf(x["theta_trans"]).sum() + st.norm.logpdf(x["mu"], 0, 5) + st.halfcauchy.logpdf(x["tau"], 0, 5)
    )
    return prior + st.norm.logpdf(y, x["mu"] + x["tau"] * x["theta_trans"], sigma).sum()


def _lynx_hare(x, d):
    a, b, c, e = x["theta"]
    rates = lambda t, z: [(a - b * z[1]) * z[0], (-c + e * z[0]) * z[1]]
    z = scipy.integrate.solve_ivp(rates, (0, 20), x["z_init"], t_eval=d["ts"], rtol=1e-10, atol=1e-10).y.T
    log_normal = lambda y, mean, sd: st.lognorm.logpdf(y, sd, scale=np.exp(mean)).sum()
    prior = st.norm.logpdf(x["theta"], [1, 0.05, 1, 0.05], [0.5, 0.05, 0.5, 0.05]).sum()
    prior += log_normal(x["sigma"], -1, 1) + log_normal(x["z_init"], np.log(10), 1)
    first = log_normal(np.array(d["y_init"]), np.log(x["z_init"]), x["sigma"])
    return prior + first + log_normal(np.array(d["y"]), np.log(z), x["sigma"])


def _line(y, mean, sigma):
    return st.norm.logpdf(y, mean, sigma).sum()


def _kidiq(x, d):
    mean = x["beta"][0] + x["beta"][1] * np.array(d["mom_iq"])
    return _line(d["kid_score"], mean, x["sigma"]) + st.halfcauchy.logpdf(x["sigma"], 0, 2.5)


def _interaction(x, d):
    hs, iq = np.array(d["mom_hs"]), np.array(d["mom_iq"])
    mean = x["beta"] @ np.stack([np.ones(hs.size), hs, iq, hs * iq])
    return _line(d["kid_score"], mean, x["sigma"]) + st.halfcauchy.logpdf(x["sigma"], 0, 2.5)


def _earnings(x, d):
    return _line(np.log(d["earn"]), x["beta"][0] + x["beta"][1] * np.array(d["height"]), x["sigma"])


def _mesquite(x, d):
    a, b, h, total, group = (np.array(d[k]) for k in ("diam1", "diam2", "canopy_height", "total_height", "group"))
    logs = [np.ones(a.size), np.log(a * b * h), np.log(a * b), np.log(a / b), np.log(total), group]
    return _line(np.log(d["weight"]), x["beta"] @ np.stack(logs), x["sigma"])


def _sblrc(x, d):
    prior = st.norm.logpdf(x["beta"], 0, 10).sum() + st.halfnorm.logpdf(x["sigma"], 0, 10)
    return prior + _line(d["y"], np.array(d["X"]) @ x["beta"], x["sigma"])


def _kilpisjarvi(x, d):
    prior = st.norm.logpdf(x["beta"], [d["pmualpha"], d["pmubeta"]], [d["psalpha"], d["psbeta"]]).sum()
    return prior + _line(d["y"], x["beta"][0] + x["beta"][1] * np.array(d["x"]), x["sigma"])


ORACLES = dict(
    zip(
        POSTERIORS,
        (_eight_schools, _lynx_hare, _kidiq, _interaction, _earnings, _mesquite, _sblrc, _kilpisjarvi),
        strict=True,
    )
)


@pytest.mark.parametrize("name", POSTERIORS)
def test_densities_agree_with_scipys(name):
    problem, x = posterior(name), at_the_mean(name)
    # Near the mean, where no term vanishes by symmetry.
    x = {key: leaf * 1.02 for key, leaf in x.items()}
    ours = jax.jit(problem.log_density)(jax.tree.map(jnp.asarray, x), problem.data)
    theirs = ORACLES[name](x, reference_posteriors()[name]["data"])
    # Of the flow its solver's tolerance is left.
    np.testing.assert_allclose(ours, theirs, rtol=1e-5 if "lynx" in name else 1e-11)


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="posterior: name must be one of"):
        posterior("eight_schools")
