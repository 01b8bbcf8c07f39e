"""Statistics and finance: likelihoods, regressions, factorisations, portfolios."""

from typing import Any

import numpy as np

from jaxcalc.scenarios.catalogue.entry import collect, held_out, tuned
from jaxcalc.scenarios.scenario import Scenario

__all__ = ["CASES", "mixture_densities", "mixture_parameters"]


def mixture_parameters(rng: np.random.Generator, dimension: int, components: int) -> dict[str, np.ndarray]:
    """Weights, means and inverse square roots of covariances of a Gaussian mixture, as ADBench has them."""
    return {
        "alpha": rng.standard_normal(components),
        "means": rng.standard_normal((components, dimension)),
        "log_diagonal": 0.2 * rng.standard_normal((components, dimension)),
        "lower": 0.3 * rng.standard_normal((components, dimension * (dimension - 1) // 2)),
    }


def mixture_densities(p: Any, data: Any) -> Any:
    """Log-likelihood of every point, logsumexp_k(a_k - logsumexp a + sum q_k - |Q_k (x - mu_k)|^2 / 2).

    Q_k is lower triangular with exp(q_k) on its diagonal.
    """
    import jax
    import jax.numpy as jnp

    dimension = data.shape[1]
    rows, columns = np.tril_indices(dimension, -1)

    def distance(log_diagonal, lower, mean):
        factor = jnp.diag(jnp.exp(log_diagonal)).at[rows, columns].set(lower)
        return jnp.sum(((data - mean) @ factor.T) ** 2, axis=1)

    square = jax.vmap(distance)(p["log_diagonal"], p["lower"], p["means"])
    score = p["alpha"][:, None] + jnp.sum(p["log_diagonal"], axis=1)[:, None] - square / 2
    return jax.nn.logsumexp(score, axis=0) - jax.nn.logsumexp(p["alpha"])


def _mixture(rng: np.random.Generator, *, dimension: int, components: int, points: int, total: bool) -> Scenario:
    """Log-likelihood of a Gaussian mixture in all its parameters, in total or point by point.

    Source: ADBench's GMM (Srajer et al. 2018), without the Wishart prior.
    """
    import jax.numpy as jnp

    data = rng.standard_normal((points, dimension))
    fun = (lambda p, data: jnp.sum(mixture_densities(p, data))) if total else mixture_densities
    return Scenario(fun, mixture_parameters(rng, dimension, components), (data,))


def _scores(rng: np.random.Generator, *, rows: int, features: int, link: str) -> Scenario:
    """Score equations of a generalised linear model, X' (mu(X w) - y) + w / 10; Jacobian X' diag(mu') X + I / 10.

    Source: McCullagh and Nelder, Generalized Linear Models.
    """
    import jax
    import jax.numpy as jnp

    design = rng.standard_normal((rows, features)) / np.sqrt(features)
    seen = rng.poisson(1.0, rows) if link == "poisson" else rng.integers(2, size=rows)

    def score(w, design, seen):
        mean = {"poisson": jnp.exp, "logistic": jax.nn.sigmoid}[link](design @ w)
        return design.T @ (mean - seen) + 0.1 * w

    def derivative(w, design, seen):
        design, eta = np.asarray(design, np.float64), np.asarray(design, np.float64) @ np.asarray(w, np.float64)
        slope = np.exp(eta) if link == "poisson" else 0.25 / np.cosh(eta / 2) ** 2
        return (design.T * slope) @ design + 0.1 * np.eye(features)

    point, constants = rng.standard_normal(features), (design, seen.astype(float))
    return Scenario(score, point, constants, derivative=derivative, num_nonzeros=features**2)


def _deviances(rng: np.random.Generator, *, rows: int, features: int) -> Scenario:
    """Logistic deviance of every observation, log(1 + exp(-s_i x_i' w)): more observations than features."""
    import jax.numpy as jnp

    design = rng.standard_normal((rows, features)) * rng.choice([-1.0, 1.0], (rows, 1))
    return Scenario(lambda w, design: jnp.logaddexp(0.0, -design @ w), 0.3 * rng.standard_normal(features), (design,))


def _factorisation(rng: np.random.Generator, *, shape: tuple[int, int], rank: int, seen: int) -> Scenario:
    """Residuals of a factorisation at the entries seen, r_ij = u_i . v_j - Y_ij, by gathers.

    Source: Koren, Bell and Volinsky (2009).
    """
    import jax.numpy as jnp

    entries = np.sort(rng.permutation(shape[0] * shape[1])[:seen])

    def residual(x, row, column, target):
        return jnp.sum(x["left"][row] * x["right"][column], axis=1) - target

    point = {"left": rng.standard_normal((shape[0], rank)), "right": rng.standard_normal((shape[1], rank))}
    constants = (entries // shape[1], entries % shape[1], rng.standard_normal(seen))
    return Scenario(residual, point, constants, num_nonzeros=2 * rank * seen)


def _evidence(rng: np.random.Generator, *, points: int, inputs: int) -> Scenario:
    """Log evidence of a Gaussian process in its hyperparameters, -(y' K^-1 y + log det K) / 2 by Cholesky: m = 1.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 2.30.
    """
    import jax
    import jax.numpy as jnp

    places, seen = rng.standard_normal((points, inputs)), rng.standard_normal(points)

    def evidence(x, places, seen):
        z = places * jnp.exp(-x["scales"])
        square = jnp.sum((z[:, None] - z[None]) ** 2, axis=-1)
        kernel = jnp.exp(x["height"] - square / 2) + jnp.exp(x["noise"]) * jnp.eye(points, dtype=seen.dtype)
        factor = jnp.linalg.cholesky(kernel)
        white = jax.scipy.linalg.solve_triangular(factor, seen, lower=True)
        return -(white @ white) / 2 - jnp.sum(jnp.log(jnp.diag(factor)))

    point = {"scales": np.zeros(inputs), "height": np.asarray(0.0), "noise": np.asarray(-2.0)}
    return Scenario(evidence, point, (places, seen))


def _prediction(rng: np.random.Generator, *, points: int, wanted: int) -> Scenario:
    """The mean of a Gaussian process where it is wanted, in what was seen: mu = k_* (K + 0.1)^-1 y, linear.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, eq. 2.25.
    """
    import jax
    import jax.numpy as jnp

    def mean(seen, places, here):
        kernel = lambda a, b: jnp.exp(-((a[:, None] - b[None]) ** 2) / 2)
        gram = kernel(places, places) + 0.1 * jnp.eye(points, dtype=seen.dtype)
        return kernel(here, places) @ jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(gram), seen)

    constants = (np.sort(rng.uniform(-4, 4, points)), np.linspace(-4, 4, wanted))
    return Scenario(mean, rng.standard_normal(points), constants)


def _black_scholes(rng: np.random.Generator, *, options: int, books: int | None) -> Scenario:
    """Call prices S N(d1) - K e^(-rT) N(d2) in spot and volatility, option by option or summed into books.

    d1, d2 = (log(S / K) + (r +- v^2 / 2) T) / (v sqrt T).

    Source: Black and Scholes (1973).
    """
    import jax
    import jax.numpy as jnp

    def prices(x, strike, maturity):
        deviation = x["volatility"] * jnp.sqrt(maturity)
        d1 = (jnp.log(x["spot"] / strike) + 0.02 * maturity) / deviation + deviation / 2
        cdf = jax.scipy.stats.norm.cdf
        price = x["spot"] * cdf(d1) - strike * jnp.exp(-0.02 * maturity) * cdf(d1 - deviation)
        return price if books is None else jnp.sum(price.reshape(books, -1), axis=1)

    point = {"spot": rng.uniform(80, 120, options), "volatility": rng.uniform(0.1, 0.4, options)}
    constants = (rng.uniform(80, 120, options), rng.uniform(0.2, 2.0, options))
    return Scenario(prices, point, constants, num_nonzeros=2 * options)


JACOBIANS = {
    "mixture": [
        tuned(
            "Gaussian mixture",
            _mixture,
            dimension=2,
            components=5,
            points=300,
            total=True,
            dtype="float64",
            tags=["wide", "pytree"],
        ),
        tuned(
            "small mixture by points",
            _mixture,
            dimension=3,
            components=3,
            points=120,
            total=False,
            tags=["tall", "pytree"],
        ),
        held_out(
            "larger Gaussian mixture",
            _mixture,
            dimension=10,
            components=10,
            points=200,
            total=True,
            dtype="float64",
            tags=["wide", "pytree"],
        ),
        held_out(
            "mixture by points",
            _mixture,
            dimension=4,
            components=4,
            points=500,
            total=False,
            dtype="float64",
            tags=["tall", "pytree"],
        ),
    ],
    "regression": [
        tuned(
            "logistic scores",
            _scores,
            rows=300,
            features=30,
            link="logistic",
            dtype="float64",
            tags=["dense"],
            closed_form=True,
        ),
        held_out("Poisson scores", _scores, rows=400, features=200, link="poisson", tags=["dense"], closed_form=True),
        held_out("deviances", _deviances, rows=800, features=20, dtype="float64", tags=["tall"]),
    ],
    "factorisation": [
        tuned("matrix factorisation", _factorisation, shape=(40, 30), rank=3, seen=300, tags=["gather", "pytree"]),
        held_out(
            "ratings",
            _factorisation,
            shape=(90, 70),
            rank=5,
            seen=1500,
            dtype="float64",
            tags=["gather", "pytree", "tall"],
        ),
    ],
    "Gaussian process": [
        tuned("Gaussian process evidence", _evidence, points=60, inputs=6, dtype="float64", tags=["wide", "pytree"]),
        held_out(
            "Gaussian process prediction", _prediction, points=50, wanted=300, dtype="float64", tags=["dense", "linear"]
        ),
    ],
    "options": [
        tuned("option prices", _black_scholes, options=400, books=None, tags=["block diagonal", "pytree"]),
        held_out("books of options", _black_scholes, options=1000, books=10, dtype="float64", tags=["wide", "pytree"]),
    ],
}

CASES = collect("jacobian", JACOBIANS)
