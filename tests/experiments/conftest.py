"""What every small run of an experiment needs."""

import pytest

from tests.verdicts import survivors


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A compilation cache of the module's own, so that the user's is neither read nor filled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXCALC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def run(request, cache, tmp_path_factory):
    """Each part of ``EXPERIMENT``, run once, with its parameters in ``SMALL`` and its axes in ``GRIDS`` and ``LANES``.

    No claim of any of them survives a variable that is not a number.
    """
    from jaxcalc import lab
    from jaxcalc.lab import registry

    name, small, found = request.module.EXPERIMENT, request.module.SMALL, {}
    grids, lanes = getattr(request.module, "GRIDS", {}), getattr(request.module, "LANES", {})

    def make(part):
        if part not in found:
            known = registry.available()
            address = f"{name}.{part}" if f"{name}.{part}" in known else name  # a subject of one question
            config = {"experiment": address, "dtype": "float64", "params": small.get(part, {})}
            sweep = {"grid": grids.get(part), "vmap": lanes.get(part)}
            config["sweep"] = {kind: axes for kind, axes in sweep.items() if axes}
            found[part] = lab.run(config, out=tmp_path_factory.mktemp(part), progress=False)
            assert found[part].messages == []
            assert survivors(address, found[part].dataset) == []
        return found[part]

    return make


@pytest.fixture
def no_peers(monkeypatch):
    """Peers are as if they were not installed: they are extras, and slow to import."""
    from jaxcalc.lab import registry

    registry.load("laplacian_cost.time")  # the repository's modules are back, whatever a test of the lab has put there
    monkeypatch.setattr("experiments._contest.installed", lambda name: False)
