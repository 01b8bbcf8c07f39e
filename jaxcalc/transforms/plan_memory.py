"""Plans remembered: what identifies a program, plans within this process, measurements in the user's cache folder."""

import collections
import dataclasses
import hashlib
import importlib.metadata
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import cache
from jaxcalc.programs import walk
from jaxcalc.programs.speed import device
from jaxcalc.transforms.lifting import is_concrete
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
    """The identity of what an operator was asked for, from its traced program."""
    traced = request.traced
    programs = [walk.read(traced.jaxpr), *rule_programs(traced.jaxpr)]
    here = [walk.fingerprint(program) for program in programs]
    anywhere = [walk.fingerprint(program, values=False) for program in programs]
    fixed = [_digest(array) for place, array in enumerate(traced.arrays) if place not in traced.taken]
    return Identity(None if None in here else repr((here, fixed)), repr(anywhere))


def _digest(leaf: Any) -> str:
    """A digest of an array's contents, of a tracer's shape."""
    if not is_concrete(leaf):
        return f"{leaf.shape}{leaf.dtype}"
    data = jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.extended) else leaf
    array = np.ascontiguousarray(data)
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


# -- plans, within this process ----------------------------------------------------------------------------------------

# The plans used last, by operator, choices, program and device. Nothing in such a plan refers to the function, nor does
# the key: whatever computes the same program has the same plan.
_PLANS: "collections.OrderedDict[Hashable, Plan]" = collections.OrderedDict()
_MOST_PLANS = 1024
# What all their patterns may take together, in bytes.
_MOST_HELD = 1 << 28
_LOCK = threading.Lock()


def recall_plan(request: Request, identity: Identity) -> Plan | None:
    """The plan made before for this program."""
    for key in _plan_keys(request, identity):
        with _LOCK:
            if key is not None and key in _PLANS:
                _PLANS.move_to_end(key)
                return _PLANS[key]
    return None


def keep_plan(request: Request, identity: Identity, plan: Plan) -> None:
    """Keep a plan, and drop the ones not used for longest."""
    by_program, by_values = _plan_keys(request, identity)
    key = by_values if plan.chosen.held else by_program
    if key is None:
        return
    # What is not taken is kept for its line in the table alone.
    routes = tuple(r if r is plan.chosen else dataclasses.replace(r, run=None, held=0) for r in plan.routes)
    with _LOCK:
        _PLANS[key] = dataclasses.replace(plan, routes=routes)
        while len(_PLANS) > _MOST_PLANS or (
            len(_PLANS) > 1 and sum(p.chosen.held for p in _PLANS.values()) > _MOST_HELD
        ):
            _PLANS.popitem(last=False)


def forget() -> None:
    """Drop every plan held in this process."""
    with _LOCK:
        _PLANS.clear()


def _plan_keys(request: Request, identity: Identity) -> tuple[Hashable | None, Hashable | None]:
    """What a plan without a pattern is kept by, whatever the values; and what one with a pattern is.

    None where it is not kept: a loss among the choices would be kept alive; what closes over a tracer has no values to
    go by, nor can it be compiled and held to a budget.
    """
    if getattr(request.choices, "loss", None) is not None or (identity.here is None and request.budget is not None):
        return None, None
    # In double precision a Python number, and any constant that the function makes, is of another dtype.
    asked = request.operator.name, request.choices, request.traced.inputs, str(jnp.result_type(float)), repr(device())
    return (asked, identity.anywhere), None if identity.here is None else (asked, identity.here)


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
