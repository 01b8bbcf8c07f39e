"""Real data, small enough to travel with the package, as plain numpy arrays.

Nothing here imports JAX. The digits and the tumours are read straight from the files that scikit-learn installs:
importing scikit-learn itself takes over a second, so that happens only where those files are not found.
"""

import csv
import gzip
import importlib.util
import io
import json
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcalc import checks

__all__ = [
    "BreastCancer",
    "Digits",
    "Houses",
    "LynxHare",
    "Standardized",
    "Xor",
    "breast_cancer",
    "digits",
    "houses",
    "lynx_hare",
    "reference_posteriors",
    "standardize",
    "xor",
]

_CELL_MEASURES = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)


class Digits(NamedTuple):
    """Handwritten digits: ``images`` (1797, 64) in [0, 1], ``labels`` (1797,) 0 to 9."""

    images: np.ndarray
    labels: np.ndarray


class BreastCancer(NamedTuple):
    """Tumours: ``features`` (569, 30), ``labels`` (569,) with 0 malignant and 1 benign, ``names`` of the features."""

    features: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]


class Houses(NamedTuple):
    """Houses sold: ``features`` (546, 11), ``price`` (546,) in Canadian dollars, ``names`` of the features."""

    features: np.ndarray
    price: np.ndarray
    names: tuple[str, ...]

    def column(self, name: str) -> np.ndarray:
        """One feature by name, (546,)."""
        return self.features[:, self.names.index(checks.one_of("Houses.column", "name", name, self.names))]


class LynxHare(NamedTuple):
    """Pelts traded: ``year`` (21,), ``hare`` (21,) and ``lynx`` (21,) in thousands of pelts."""

    year: np.ndarray
    hare: np.ndarray
    lynx: np.ndarray


class Standardized(NamedTuple):
    """Columns of mean 0 and standard deviation 1: ``values`` (m, n), and ``mean`` (n,), ``scale`` (n,) to undo it."""

    values: np.ndarray
    mean: np.ndarray
    scale: np.ndarray


class Xor(NamedTuple):
    """The four cases of exclusive or: ``inputs`` (4, 2), ``targets`` (4, 1)."""

    inputs: np.ndarray
    targets: np.ndarray


def digits() -> Digits:
    """Handwritten digits, 8 x 8 pixels, each pixel the share of ink in a 4 x 4 block of the 32 x 32 scan.

    Returns:
      ``(images, labels)``: (1797, 64) float64 in [0, 1], rows of the image one after another, and (1797,) int64.

    Source: Alpaydin and Kaynak, "Optical recognition of handwritten digits", UCI Machine Learning Repository (1998),
      its test part, as bundled with scikit-learn. Licence: CC BY 4.0.
    """
    text = _bundled("digits.csv.gz")
    if text is None:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        return Digits(np.asarray(pixels, np.float64) / 16.0, np.asarray(labels, np.int64))
    table = np.loadtxt(io.StringIO(text), delimiter=",")
    return Digits(table[:, :-1] / 16.0, table[:, -1].astype(np.int64))


def breast_cancer() -> BreastCancer:
    """Cell nuclei in images of breast tumours: ten measures of each, as mean, standard error and worst value.

    Lengths are in pixels and areas in square pixels of the image; the other measures have no unit.

    Returns:
      ``(features, labels, names)``: (569, 30) float64; (569,) int64, 0 malignant (212) and 1 benign (357); 30 names.

    Source: Wolberg, Mangasarian, Street and Street, "Breast Cancer Wisconsin (Diagnostic)", UCI Machine Learning
      Repository (1995), as bundled with scikit-learn. Licence: CC BY 4.0.
    """
    names = tuple(
        [f"mean {name}" for name in _CELL_MEASURES]
        + [f"{name} error" for name in _CELL_MEASURES]
        + [f"worst {name}" for name in _CELL_MEASURES]
    )
    text = _bundled("breast_cancer.csv")
    if text is None:
        from sklearn.datasets import load_breast_cancer

        features, labels = load_breast_cancer(return_X_y=True)
        return BreastCancer(np.asarray(features, np.float64), np.asarray(labels, np.int64), names)
    table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1)
    return BreastCancer(table[:, :-1], table[:, -1].astype(np.int64), names)


def houses() -> Houses:
    """Houses sold in Windsor, Canada, in July, August and September of 1987.

    Features: ``lotsize`` in square feet; ``bedrooms``, ``bathrms`` (full bathrooms), ``stories`` and ``garagepl``
    (garage places) as counts; ``driveway``, ``recroom``, ``fullbase`` (finished basement), ``gashw`` (gas hot water),
    ``airco`` and ``prefarea`` (preferred neighbourhood) as 1 for yes and 0 for no.

    Returns:
      ``(features, price, names)``: (546, 11) float64, (546,) float64 in Canadian dollars, 11 names.

    Source: Anglin and Gencay, "Semiparametric estimation of a hedonic price function", Journal of Applied Econometrics
      11(6), 1996: figures published in the journal's data archive, also distributed with R's package Ecdat.
    """
    header, *rows = csv.reader(io.StringIO(_vendored("houses_windsor.csv")))
    yes_no = {"yes": 1.0, "no": 0.0}
    table = np.array([[yes_no[cell] if cell in yes_no else float(cell) for cell in row] for row in rows])
    return Houses(table[:, 1:], table[:, 0], tuple(header[1:]))


def lynx_hare() -> LynxHare:
    """Pelts of snowshoe hare and Canada lynx traded by the Hudson's Bay Company, 1900 to 1920.

    Returns:
      ``(year, hare, lynx)``: (21,) each; the year an int64, the pelts float64 in thousands.

    Source: compiled by MacLulich (1937) and by Elton and Nicholson (1942), the series of Stan's predator-prey case
      study: historical counts, published facts.
    """
    table = np.loadtxt(io.StringIO(_vendored("lynx_hare.csv")), delimiter=",", skiprows=1)
    return LynxHare(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])


def reference_posteriors() -> dict[str, dict[str, Any]]:
    """Eight Bayesian models in words, their data, and what 10,000 draws say of their posteriors.

    Returns:
      By name: ``model``, in words; ``data``, numbers and lists by name; ``reference``, for each quantity its ``mean``,
      ``sd``, ``mcse`` (the Monte Carlo error of the mean), ``q05`` and ``q95`` (quantiles of 5 and 95 %);
      ``num_draws``.

    Source: Magnusson and others, posteriordb (https://github.com/stan-dev/posteriordb), read in April 2025: reference
      draws of Stan's chains. Licence: BSD 3-clause, copyright the posteriordb authors.
    """
    return json.loads(_vendored("posteriors.json"))


def xor() -> Xor:
    """Exclusive or: 00, 01, 10, 11, and 1 where exactly one input is 1; no line parts the two classes.

    Returns:
      ``(inputs, targets)``: (4, 2) and (4, 1) float64.
    """
    inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    return Xor(inputs, np.logical_xor(*inputs.T)[:, None].astype(float))


def standardize(features: np.ndarray) -> Standardized:
    """Columns shifted and scaled to mean 0 and standard deviation 1; a constant column becomes zeros with scale 1.

    ``values = (features - mean) / scale``

    Args:
      features: (m, n), one row per sample.
    """
    features = np.asarray(features, np.float64)
    if features.ndim != 2 or len(features) == 0:
        raise ValueError(f"standardize: features must have shape (m, n) with m > 0, got {features.shape}.")
    mean = features.mean(axis=0)
    deviation = features.std(axis=0)
    # A constant column of large numbers has a deviation of a few roundings, not exactly zero.
    constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
    scale = np.where(constant, 1.0, deviation)
    return Standardized(np.where(constant, 0.0, (features - mean) / scale), mean, scale)


def _vendored(name: str) -> str:
    """A file of this package."""
    return files("jaxcalc.functions").joinpath("data", name).read_text(encoding="utf-8")


def _bundled(name: str) -> str | None:
    """A file that scikit-learn installs, without importing scikit-learn; None where it lies elsewhere."""
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "datasets", "data", name)
        if path.is_file():
            return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return None
