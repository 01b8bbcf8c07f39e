"""Plans remembered: what identifies a program, plans within this process, measurements in the user's cache folder."""

import dataclasses
import hashlib
import importlib.metadata
import weakref
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import cache, checks
from jaxcalc.programs import walk
from jaxcalc.transforms.lifting import NEEDS_NUMBERS, abstract, is_concrete, split_arrays
from jaxcalc.transforms.plan import Plan, Request
from jaxcalc.transforms.rules import rule_programs

__all__ = ["Identity", "forget", "identify", "keep_measurement", "keep_plan", "recall_plan", "recall_winner"]


@dataclass(frozen=True)
class Identity:
    """What a plan is valid for.

    Args:
      here: program, custom rules, constants and the values of arguments that are not differentiated, from which a
        pattern may have been read; ``None`` if a constant is a tracer, which the next call will not see again.
      anywhere: program and rules alone, the same in every process: what a measurement is remembered by.
    """

    here: str | None
    anywhere: str


def identify(request: Request) -> Identity:
    """The identity of what an operator was asked for.

    Cost: one trace of the function.
    """
    try:
        jaxpr, fixed = _traced(request, numbers=True)
    except NEEDS_NUMBERS:  # a bare number decides what the function does: it is of the program
        jaxpr, fixed = _traced(request, numbers=False)
    programs = [walk.read(jaxpr), *rule_programs(jaxpr)]
    here = [walk.fingerprint(program) for program in programs]
    anywhere = [walk.fingerprint(program, values=False) for program in programs]
    return Identity(None if None in here else repr((here, fixed)), repr(anywhere))


def _traced(request: Request, *, numbers: bool) -> tuple[Any, list[str]]:
    """The program with every array (and bare number) as its argument, and digests of those not differentiated."""
    leaves, unflatten = split_arrays(request.args, numbers=numbers)
    differentiated: list[bool] = []

    def everything(*arrays: Any) -> Any:
        # As a constant an array would be part of the fingerprint.
        whole = request.operator.lift(request.fun, unflatten(arrays), request.choices)
        # The map takes its inputs over from the arguments, so that the same object is the same argument.
        taken = {id(array) for array in (*whole.inputs, *jax.tree.leaves(whole.extra))}
        differentiated[:] = [id(array) in taken for array in arrays]
        return whole.plain(*whole.inputs)

    jaxpr = jax.make_jaxpr(everything)(*abstract(leaves))
    return jaxpr, [_digest(leaf) for leaf, moves in zip(leaves, differentiated, strict=True) if not moves]


def _digest(leaf: Any) -> str:
    """A digest of an array's contents, of a tracer's shape."""
    if not is_concrete(leaf):
        return f"{leaf.shape}{leaf.dtype}"
    data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else leaf
    array = np.ascontiguousarray(data)
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


# -- plans, within this process ----------------------------------------------------------------------------------------

# fun -> {(operator, choices, shapes): (Identity.here, plan without request)}. Nothing in such a plan refers to fun,
# else the weak key would never die.
_PLANS: "weakref.WeakKeyDictionary[Any, dict[Hashable, tuple[str, Plan]]]" = weakref.WeakKeyDictionary()


def recall_plan(request: Request, identity: Identity) -> Plan | None:
    """The plan made before for this function, if what it computes is still the same program."""
    if identity.here is None or _holds_a_function(request):
        return None
    try:
        remembered = _PLANS.get(request.fun, {}).get(_plan_key(request))
    except TypeError:  # not hashable, or no weak references to it
        return None
    return remembered[1] if remembered is not None and remembered[0] == identity.here else None


def keep_plan(request: Request, identity: Identity, plan: Plan) -> None:
    """Keep a plan as long as its function lives."""
    if identity.here is None or _holds_a_function(request):
        return
    try:
        _PLANS.setdefault(request.fun, {})[_plan_key(request)] = (identity.here, plan)
    except TypeError:
        return


def _holds_a_function(request: Request) -> bool:
    """Whether the choices do, which may in turn hold the one that a plan lives with: that would then never die."""
    return getattr(request.choices, "loss", None) is not None


def forget() -> None:
    """Drop every plan held in this process."""
    _PLANS.clear()


def _plan_key(request: Request) -> Hashable:
    """What a plan is kept by beside its function: choices, shapes and dtypes; of what is no array, the value."""
    leaves, tree = jax.tree.flatten(request.args)
    kinds = tuple((jnp.shape(x), str(getattr(x, "dtype", type(x)))) if checks.is_array(x) else x for x in leaves)
    # In double precision a Python number, and any constant that the function makes, is of another dtype.
    return request.operator.name, request.choices, kinds, tree, str(jnp.result_type(float))


# -- measurements, in the user's cache folder --------------------------------------------------------------------------


def recall_winner(request: Request, identity: Identity) -> str | None:
    """The label of the route that won an earlier measurement of this program on this device, else ``None``."""
    key = _measurement_key(request, identity)
    entry = cache.recall(_file(key))
    # The file's name is a digest of the key, and anyone may write into the folder: the key itself is compared.
    return entry.get("label") if isinstance(entry, dict) and entry.get("key") == key else None


def keep_measurement(request: Request, plan: Plan) -> None:
    """Remember a measured plan: the plan in this process, and in the cache folder which route won at what times."""
    identity = identify(request)
    key = _measurement_key(request, identity)
    cache.keep(_file(key), {"key": key, "label": plan.chosen.label, "seconds": dict(plan.measured)})
    keep_plan(request, identity, plan)


def _measurement_key(request: Request, identity: Identity) -> str:
    """Program, shapes and dtypes (in the fingerprint), choices, device and compiler."""
    chip = jax.devices()[0]
    # A pattern is the program's own, which the fingerprint stands for; as text it would be cut short, and a loss have
    # an address.
    names = [field.name for field in dataclasses.fields(request.choices) if field.name not in ("pattern", "loss")]
    choices = {name: getattr(request.choices, name) for name in names}
    compiler = importlib.metadata.version("jaxlib")
    return repr((request.operator.name, choices, identity.anywhere, chip.platform, chip.device_kind, compiler))


def _file(key: str) -> str:
    """Where the measurement under a key lies below the cache folder."""
    return f"plans/{hashlib.sha256(key.encode()).hexdigest()}"
