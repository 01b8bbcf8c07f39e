"""What every small run of an experiment needs."""

import pytest


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    """A compilation cache of the module's own, so that the user's is neither read nor filled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAXCALC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
