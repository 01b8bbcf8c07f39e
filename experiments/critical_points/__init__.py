"""What do gradients and Hessians say about points where the gradient is zero?

Bowls, domes and saddles of two variables, Jacobians and steepest directions (``landscapes``); the
stationary points of a small network (``network``); convexity and stationary points of a function of
one's own (``own``).
"""

import numpy as np

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, jax, jnp, less

_STEP = 1e-4  # from a stationary point, to see whether the function rises or falls

POINTS = {
    "kind": Variable(("point",), "", "what the second derivative test says of a stationary point"),
    "value": Variable(("point",), "", "the function there; points rise with it"),
    "gradient_norm": Variable(("point",), "", "largest entry of the gradient there"),
    "eigenvalues": Variable(("point", "eigenvalue"), "", "of the Hessian there, in rising order"),
    "rise": Variable(("point",), "", "largest change of the function a step along an eigenvector"),
    "fall": Variable(("point",), "", "least change of the function along one"),
    "starts": Variable(("point",), "", "starts whose search ended there"),
    "tried": Variable((), "", "starts of the search"),
}
"""The variables of stationary points, for an experiment's ``VARIABLES``."""


def stationary_points(fun, starts, max_steps=500, where=None, same="place"):
    """Where searches for a zero of the gradient end, each point once and classified.

    The search is for ``grad fun(x) = 0`` by Levenberg and Marquardt's method, which is drawn to
    saddles as it is to minima.

    Args:
      fun: ``x (n,) -> scalar``.
      starts: (starts, n).
      where: ``x (n,) -> bool``, which points count; by default all.
      same: points are one if they agree in ``"place"``, or, where symmetries map them to each
        other, in ``"spectrum"``: in value and eigenvalues.

    Returns:
      Arrays by the names of ``POINTS``.
    """
    from jaxcalc.solvers import root
    from jaxcalc.transforms.hessian import hessian
    from jaxcalc.transforms.stationary import classify_stationary_point

    def search(start):
        x = root(jax.grad(fun), start, tol=1e-12, max_steps=max_steps).x
        vectors = jnp.linalg.eigh(hessian(fun)(x))[1].T
        steps = _STEP * jnp.concatenate([vectors, -vectors])
        change = jax.vmap(lambda step: fun(x + step))(steps) - fun(x)
        counts = jnp.asarray(True) if where is None else where(x)
        return x, counts, fun(x), change.max(), change.min(), classify_stationary_point(fun, x)

    x, counts, value, rise, fall, told = jax.jit(jax.vmap(search))(starts)
    good = np.flatnonzero(told.stationary & counts & jnp.isfinite(value))
    rows = x if same == "place" else jnp.column_stack([value, told.eigenvalues])
    rows = np.round(rows[good], 4) + 0.0  # no negative zeros
    _, first, number = np.unique(rows, axis=0, return_index=True, return_counts=True)
    order = np.argsort(value[good][first])
    kept = good[first][order]
    found = {"value": value, "gradient_norm": told.gradient_norm, "eigenvalues": told.eigenvalues}
    found |= {"rise": rise, "fall": fall, "kind": told.kind}
    return {
        **{name: np.asarray(array)[kept] for name, array in found.items()},
        "starts": number[order],
        "tried": np.asarray(len(starts)),
    }


def all_stationary(dataset):
    """The judge: at every point the gradient is as good as zero."""
    return below(dataset.gradient_norm)


def agrees_with_values(dataset):
    """The judge: beside minima the function rises, beside maxima it falls, beside saddles both."""
    rise, fall = dataset.rise, dataset.fall
    signs = {"minimum": fall, "maximum": -rise, "saddle": np.minimum(rise, -fall)}
    changes = [numbers[(dataset.kind == kind).values] for kind, numbers in signs.items()]
    return Finding(less(0.0, np.concatenate(changes)), measured=counted(dataset))


def counted(dataset):
    """How many points there are of each kind, in words."""
    kinds, counts = np.unique(dataset.kind.values.astype(str), return_counts=True)
    told = ", ".join(f"{kind}: {count}" for kind, count in zip(kinds, counts))
    return told or "no stationary point"


def listed(dataset):
    """Rows of a table of stationary points."""
    columns = {
        "value": dataset.value,
        "kind": dataset.kind,
        "negative eigenvalues": (dataset.eigenvalues < 0).sum("eigenvalue"),
        "least eigenvalue": dataset.eigenvalues.isel(eigenvalue=0),
        "starts": dataset.starts,
    }
    return lab.rows("point", columns, 5)


def draw_points(panels, dataset, name):
    """Values of stationary points in one panel, eigenvalues of their Hessians in the other."""
    left, right = panels
    spectra = dataset.eigenvalues
    sizes = abs(spectra.values).ravel()
    if sizes.any():  # linear up to the least of them or 1/300 of the largest
        right.set_yscale("symlog", linthresh=max(sizes.min(), sizes.max() / 300))
    places = np.arange(1, dataset.sizes["point"] + 1)
    for kind in ("minimum", "saddle", "maximum", "degenerate"):
        mine = (dataset.kind == kind).values
        if mine.any():
            look = style.method(kind, linestyle="")
            left.plot(places[mine], dataset.value[mine], **look)
            right.plot(places[mine], spectra[mine], **look | {"markersize": 3})
    if places.size:
        left.legend(loc="best")
    right.axhline(0.0, **style.THEORY)
    for panel, label in ((left, name), (right, "eigenvalues of the Hessian")):
        panel.set(xlabel="stationary point, from the lowest up", ylabel=label)
        panel.xaxis.get_major_locator().set_params(integer=True)
