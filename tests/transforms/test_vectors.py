"""Vectors that are handed over beside a point: fitted to it where nothing is lost, refused where something would be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc import checks
from jaxcalc.engines import check_gradient
from jaxcalc.solvers import minimize, root
from jaxcalc.transforms import (
    classify_stationary_point,
    compare,
    diagonal,
    directional_derivative,
    fisher_vp,
    forward_laplacian,
    ggn_vp,
    hessian,
    hvp,
    integral,
    jacobian,
    laplacian,
    limit,
    linear_operator,
    nth_derivative,
    plan,
    taylor,
    taylor_polynomial,
)

X = jnp.arange(1.0, 4.0)
squares = lambda x: jnp.sum(x**2)
CALLS = {
    "hvp": lambda v: hvp(squares)((X,), v),
    "ggn_vp": lambda v: ggn_vp(lambda p: p**2, jnp.sum)(X, v),
    "fisher_vp": lambda v: fisher_vp(lambda p: p**2)(X, v),
    "taylor": lambda v: taylor(squares, 2)(X, v)[1],
    "taylor_polynomial": lambda v: taylor_polynomial(squares, 2)(X)(v),
    "directional_derivative": lambda v: directional_derivative(squares)(X, v),
    "check_gradient": lambda v: check_gradient(squares, v, X).passed,
}


@pytest.mark.parametrize("who", CALLS)
@pytest.mark.parametrize("v", [1j * X, np.ones(3, bool), np.array(["a", "b", "c"])], ids=["complex", "bool", "text"])
def test_what_a_cast_would_lose_is_refused(who, v):
    with pytest.raises(TypeError, match=rf"{who}: .* must be real numbers, as |not a valid JAX (array )?type"):
        CALLS[who](v)


@pytest.mark.parametrize("who", [name for name in CALLS if name != "check_gradient"])
@pytest.mark.parametrize("dtype", [np.int32, np.float16, np.float64])
def test_real_numbers_of_any_width_are_taken(who, dtype):
    np.testing.assert_allclose(CALLS[who](np.array([2, 0, 1], dtype)), CALLS[who](jnp.array([2.0, 0.0, 1.0])))


def test_weights_are_vectors_too():
    with pytest.raises(TypeError, match="weights must be real numbers"):
        laplacian(squares, weights=1j * X)(X)


def test_a_complex_point_takes_real_and_complex_vectors():
    z = X + 1j
    for v in (X, 1j * X):
        np.testing.assert_allclose(taylor(jnp.sin, 1)(z, v)[1], jnp.cos(z) * v, rtol=1e-6)


def test_shapes_in_place_of_arrays_stay():
    shape = jax.ShapeDtypeStruct((3,), jnp.float32)
    assert checks.vector("hvp", "v", shape, "x", X) is shape


def test_the_functions_of_a_product_have_their_own_names():
    with pytest.raises(TypeError, match=r"ggn_vp: loss must return a scalar, got shape \(3,\). Reduce it"):
        ggn_vp(lambda p: p**2, lambda outputs: outputs)(X, X)
    for call, name in ((lambda: ggn_vp(3, jnp.sum), "model"), (lambda: ggn_vp(jnp.sin, 3), "loss")):
        with pytest.raises(TypeError, match=f"ggn_vp: {name} must be a function, got 3"):
            call()
    with pytest.raises(TypeError, match="fisher_vp: log_prob must be a function"):
        fisher_vp(3)


# -- through a custom_vjp, which has no forward mode ---------------------------------------------------------------


@jax.custom_vjp
def turned(x):
    return jnp.sum(x**2)


# A rule that is no gradient: its Jacobian is not symmetric.
turned.defvjp(lambda x: (turned(x), x), lambda x, u: (u * (jnp.roll(x, 1) ** 2),))

staged = jax.jit(lambda x: jax.lax.scan(lambda c, _: (turned(c) * c, None), x, length=2)[0])


@pytest.mark.parametrize("wrap", [lambda fun: fun, jax.jit], ids=["eager", "jit"])
def test_products_where_there_is_no_forward_mode(wrap):
    v = jnp.array([1.0, -2.0, 0.5])
    matrix = jax.jacrev(jax.grad(turned))(X)
    np.testing.assert_allclose(wrap(lambda x, v: hvp(turned)((x,), v))(X, v), matrix @ v, rtol=1e-6)
    jac = jax.jacrev(staged)(X)
    loss = lambda y: turned(y) + jnp.sum(jnp.sin(y))
    curvature = jax.jacrev(jax.grad(loss))(staged(X))
    np.testing.assert_allclose(wrap(ggn_vp(staged, loss))(X, v), jac.T @ curvature @ jac @ v, rtol=1e-5)
    np.testing.assert_allclose(wrap(fisher_vp(staged))(X, v), jac.T @ jac @ v / 3, rtol=1e-5)


def test_transfers_of_an_operators_own_are_no_accident():
    fun = jax.jit(lambda x: jnp.sin(x) * x[::-1])
    with jax.transfer_guard("disallow"):
        for method in ("auto", "forward", "reverse", "sparse"):
            jacobian(fun, method=method)(X)
        with pytest.raises(Exception, match="Disallowed host-to-device"):
            jacobian(lambda x: x * np.arange(3.0), method="forward")(X)


waves = jax.jit(lambda x: jnp.sin(x))
total = jax.jit(lambda x: jnp.sum(jnp.sin(x)))
SENDING = {
    "taylor": lambda x, s: taylor(waves, 3, method="series")(x, x),
    "nested": lambda x, s: taylor(waves, 3, method="nested")(x, x),
    "nth_derivative": lambda x, s: nth_derivative(waves, 3)(s),
    "polynomial": lambda x, s: taylor_polynomial(waves, 2)(s),
    "forward_laplacian": lambda x, s: forward_laplacian(total)(x),
    "diagonal": lambda x, s: diagonal(total, method="nested")(x),
    "operator": lambda x, s: linear_operator(hessian, total, x).diagonal(),
    "integral": lambda x, s: integral(waves)(s, s + s),
    "limit": lambda x, s: limit(waves, s),
    "classify": lambda x, s: classify_stationary_point(total, x),
    "minimize": lambda x, s: minimize(total, x),
    "root": lambda x, s: root(waves, x),
    "plan": lambda x, s: plan(jacobian, waves, x, method="forward")(x),
}


@pytest.mark.parametrize("name", SENDING)
def test_constants_are_sent_under_a_guard(name):
    x, s = jax.device_put(np.array([0.1, 0.2, 0.3], np.float32)), jax.device_put(np.float32(0.5))
    with jax.transfer_guard("disallow"):
        SENDING[name](x, s)


@pytest.mark.parametrize("method", ["series", "nested"])
def test_a_function_that_is_traced_holds_its_constants_as_under_jit(method):
    x = jax.device_put(np.ones(3, np.float32))
    with jax.transfer_guard("disallow"):
        rows = taylor(lambda x: x**2 * np.arange(3.0), 2, method=method)(x, x)
    np.testing.assert_allclose(rows, np.outer([1.0, 2.0, 1.0], np.arange(3.0)))


def test_a_plan_of_a_product_wants_the_tuple_and_the_vector():
    with pytest.raises(TypeError, match=r"hvp: two arguments are wanted.*got 1"):
        plan(hvp, squares, X)


def test_plans_of_curvature_products():
    model = lambda w: jnp.tanh(jnp.outer(jnp.arange(3.0), w)).sum(1)
    loss = lambda outputs: jnp.sum(outputs**4)
    w, v = jnp.linspace(0.1, 0.9, 4), jnp.ones(4)
    jacobian, outputs = jax.jacfwd(model)(w), model(w)
    exact = {
        ggn_vp: jacobian.T @ (12 * outputs**2 * (jacobian @ v)),
        fisher_vp: jacobian.T @ (jacobian @ v) / 3,
    }
    for operator, given in ((ggn_vp, {"loss": loss}), (fisher_vp, {})):
        for method in ("auto", "forward-and-reverse", "reverse-over-reverse"):
            made = plan(operator, model, w, v, method=method, **given)
            assert all(route.cost is not None for route in made.routes) and len(made.routes) == 1 + (method == "auto")
            np.testing.assert_allclose(jax.jit(made)(w, v), exact[operator], rtol=1e-5)
            np.testing.assert_allclose(
                operator(model, *given.values(), method=method)(w, v), exact[operator], rtol=1e-5
            )

    @jax.custom_vjp
    def doubled(w):
        return 2 * w

    doubled.defvjp(lambda w: (2 * w, None), lambda _, t: (2 * t,))
    made = plan(fisher_vp, lambda w: model(doubled(w)), w, v)
    assert made.chosen.method == "reverse-over-reverse" and made.routes[0].refused
    with pytest.raises(TypeError, match="ggn_vp: loss must be a function"):
        plan(ggn_vp, model, w, v)
    with pytest.raises(ValueError, match="fisher_vp: method must be one of"):
        fisher_vp(model, method="reverse")


def test_a_wrong_loss_is_told_once():
    for loss, message in [(jnp.sin, "loss must return a scalar"), (jnp.argmax, "has no derivative")]:
        for call in (plan, compare):
            with pytest.raises(TypeError, match=message) as raised:
                call(ggn_vp, jnp.sin, jnp.ones(3), jnp.ones(3), loss=loss)
            assert str(raised.value).count("ggn_vp") == 1
