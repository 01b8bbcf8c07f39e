"""The engines call nothing of what they judge."""

import ast
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcalc import engines

FORBIDDEN = frozenset(
    (
        "checkpoint",
        "custom_gradient",
        "custom_jvp",
        "custom_vjp",
        "fwd_and_bwd",
        "grad",
        "hessian",
        "jacfwd",
        "jacobian",
        "jacrev",
        "jvp",
        "linear_transpose",
        "linearize",
        "remat",
        "value_and_grad",
        "vjp",
    )
)
# Parts of jax that differentiate, or that lead past this scan.
FORBIDDEN_MODULES = ("jax.experimental.jet", "jax.interpreters", "jax.extend", "jax.test_util", "jax._src", "jax.ad_")
FLOOR = ("jaxcalc.engines", "jaxcalc.checks", "jaxcalc.cache", "jaxcalc.measure", "jaxcalc.style")


def dotted(node, names):
    """``a.b.c`` with its first name resolved through the imports; nothing for what is no such chain."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return None
    return ".".join([names[node.id], *reversed(parts)])


def judged(path):
    """Whether a resolved name is jax's differentiation, or a room above this one."""
    if path.split(".")[0] == "jax":
        return path.split(".")[-1] in FORBIDDEN or path.startswith(FORBIDDEN_MODULES)
    return path.split(".")[0] == "jaxcalc" and path != "jaxcalc" and not path.startswith(FLOOR)


def violations(source):
    """What a module's source takes from where it must not, as ``line: name``."""
    tree = ast.parse(source)
    names, found = {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                names[each.asname or each.name.split(".")[0]] = each.name if each.asname else each.name.split(".")[0]
                found += [f"{node.lineno}: {each.name}"] if judged(each.name) else []
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                path = f"{'jaxcalc' if node.level else ''}{node.module or ''}.{each.name}"
                names[each.asname or each.name] = path
                found += [f"{node.lineno}: {path}"] if node.level or judged(path) else []
    for node in ast.walk(tree):
        path = dotted(node, names)
        if path and isinstance(node, ast.Attribute) and judged(path):
            found.append(f"{node.lineno}: {path}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "__import__"):
            if any((dotted(argument, names) or "").split(".")[0] == "jax" for argument in node.args):
                found.append(f"{node.lineno}: getattr of jax")
    return found


SOURCES = sorted(pathlib.Path(engines.__file__).parent.glob("**/*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_engines_differentiate_by_themselves(path):
    assert violations(path.read_text(encoding="utf-8")) == []


def test_every_engine_is_scanned():
    assert {"dual", "finite_differences", "two_layer_backprop", "symbolic", "tape"} <= {path.stem for path in SOURCES}


@pytest.mark.parametrize(
    "planted",
    [
        "import jax\njax.grad(f)",
        "import jax as j\nj.value_and_grad(f)",
        "from jax import jvp",
        "from jax import vjp as pull",
        "import jax\ndef f(x):\n    return jax.jacfwd(jax.numpy.sin)(x)",
        "import jax\nhess = jax.hessian",
        "import jax\ngetattr(jax, 'gr' + 'ad')(f)",
        "from jax import linearize",
        "from jax.experimental import jet",
        "from jax.experimental.jet import jet",
        "import jax.interpreters.ad",
        "from jax.interpreters import ad",
        "from jaxcalc.transforms import jacobian",
        "from jaxcalc import transforms",
        "import jaxcalc.programs.walk as walk",
        "from jaxcalc.functions.activations import sigmoid",
        "from ..transforms import hvp",
    ],
)
def test_the_scan_finds_what_is_planted(planted):
    assert violations(planted)


@pytest.mark.parametrize(
    "harmless",
    [
        "import jax\nimport jax.numpy as jnp\njax.vmap(jnp.sin)\njax.jit(f)",
        "from jaxcalc import style\nfrom jaxcalc.engines.stencils import stencil",
        "def jacobian(f):\n    return f\njacobian(hessian)",
        "import numpy as np\nnp.gradient(x)",
    ],
)
def test_the_scan_leaves_the_rest_alone(harmless):
    assert violations(harmless) == []


def test_nothing_is_reached_at_run_time_either(monkeypatch, x64):
    def judge(*_, **__):
        raise AssertionError("an engine called the AD that it judges")

    for name in FORBIDDEN & set(dir(jax)) - {"custom_jvp", "custom_vjp", "custom_gradient", "checkpoint", "remat"}:
        monkeypatch.setattr(jax, name, judge)
    with pytest.raises(AssertionError):
        jax.grad(jnp.sin)(1.0)
    np.testing.assert_allclose(engines.finite_differences.gradient(jnp.sum)(jnp.ones(2)), 1, rtol=1e-9)
    assert engines.dual.gradient(engines.dual.sum)(jnp.ones(2)).tolist() == [1, 1]
    assert engines.tape.gradient(engines.tape.sum)(jnp.ones(2)).tolist() == [1, 1]
