"""Where what may be lost is kept."""

import os

import pytest

from jaxcalc import cache


@pytest.mark.parametrize("before", [None, "somewhere"])
def test_another_cache_is_empty_and_gone_afterwards(before, tmp_path, monkeypatch):
    if before is None:
        monkeypatch.delenv("JAXCALC_CACHE", raising=False)
    else:
        monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path / before))
        cache.keep("answer", 42)
    with cache.empty_cache() as folder:
        assert cache.cache_folder() == folder and cache.recall("answer") is None
        cache.keep("answer", 43)
        assert cache.recall("answer") == 43
    assert not folder.exists() and os.environ.get("JAXCALC_CACHE") == (before and str(tmp_path / before))
    assert before is None or cache.recall("answer") == 42
