"""Shapes, ranges and published totals of the bundled data, and that loading them imports nothing heavy."""

import subprocess
import sys

import numpy as np
import pytest

from jaxcalc.functions import datasets
from tests.tolerance import assert_close


def test_digits_agree_with_their_publisher():
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    found = datasets.digits()
    np.testing.assert_array_equal(found.images * 16, pixels)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.images.shape == (1797, 64)
    assert found.images.min() == 0.0
    assert found.images.max() == 1.0
    assert np.issubdtype(found.labels.dtype, np.integer)


def test_breast_cancer_agrees_with_its_publisher():
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    found = datasets.breast_cancer()
    np.testing.assert_array_equal(found.features, features)
    np.testing.assert_array_equal(found.labels, labels)
    assert np.bincount(found.labels).tolist() == [212, 357]


def test_breast_cancer_names_fit_their_columns():
    names = datasets.breast_cancer().names
    features = datasets.breast_cancer().features
    assert len(set(names)) == 30
    assert np.all(features[:, names.index("worst area")] >= features[:, names.index("mean area")])


def test_the_loaders_fall_back_on_scikit_learn(monkeypatch):
    straight = datasets.digits(), datasets.breast_cancer()
    monkeypatch.setattr(datasets, "_bundled", lambda name: None)
    for ours, theirs in zip(straight, (datasets.digits(), datasets.breast_cancer())):
        for one, other in zip(ours, theirs):
            np.testing.assert_array_equal(one, other)


def test_houses():
    found = datasets.houses()
    assert found.features.shape == (546, 11)
    assert found.price.shape == (546,)
    assert (found.price.min(), found.price.max()) == (25000, 190000)
    assert found.price[0] == 42000
    assert found.column("lotsize")[0] == 5850
    assert set(found.column("airco")) == {0.0, 1.0}
    assert set(found.column("bedrooms")) == {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}


def test_houses_name_their_columns_when_asked_for_another():
    with pytest.raises(ValueError, match=r"name must be one of 'lotsize'.* got 'pool'"):
        datasets.houses().column("pool")


def test_lynx_hare():
    found = datasets.lynx_hare()
    np.testing.assert_array_equal(found.year, np.arange(1900, 1921))
    assert found.hare[0] == 30.0
    assert found.lynx[0] == 4.0
    assert found.year[np.argmax(found.hare)] == 1903
    assert found.year[np.argmax(found.lynx)] == 1904


def test_standardize_gives_mean_zero_and_deviation_one_and_can_be_undone():
    features = datasets.breast_cancer().features
    found = datasets.standardize(features)
    assert_close(found.values.mean(axis=0), 0, 256, scale=1)
    assert_close(found.values.std(axis=0), 1, 64)
    assert_close(found.values * found.scale + found.mean, features, 16, scale=1)


def test_standardize_leaves_a_constant_column_at_zero():
    found = datasets.standardize(np.column_stack([np.full(7, 0.1), np.arange(7.0)]))
    np.testing.assert_array_equal(found.values[:, 0], 0)
    assert found.scale[0] == 1


@pytest.mark.parametrize("shape", [(3,), (0, 2)])
def test_standardize_refuses_what_is_not_a_table(shape):
    with pytest.raises(ValueError, match=r"must have shape \(m, n\)"):
        datasets.standardize(np.zeros(shape))


def test_loading_imports_neither_jax_nor_scikit_learn():
    code = (
        "import sys; from jaxcalc.functions import datasets as d; d.digits(); d.breast_cancer(); d.houses(); "
        "d.lynx_hare(); print(sorted({'jax', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_xor_is_where_one_input_is_one():
    inputs, targets = datasets.xor()
    np.testing.assert_array_equal(inputs, [[0, 0], [0, 1], [1, 0], [1, 1]])
    np.testing.assert_array_equal(targets, [[0], [1], [1], [0]])
