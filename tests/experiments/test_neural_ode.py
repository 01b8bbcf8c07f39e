"""Small runs of the fits to pelts and spiral: verdicts, figures, and what breaks them."""

import jax.numpy as jnp
import numpy as np
import xarray

from jaxcalc import models, style
from jaxcalc.lab import registry
from tests.verdicts import survivors, verdicts

EXPERIMENT = "neural_ode"
SMALL = {"pelts": {"hidden": 6, "train_steps": 40}, "spiral": {"hidden": 6, "train_steps": 40, "samples": 12}}
LANES = {
    "pelts": {"last_year": [1911, 1913], "seed": [0, 1, 2]},
    "spiral": {"irregularity": [0.0, 1.0], "seed": [0, 1, 2]},
}
IRREGULAR, CONTINUES = "neural-ode-irregular-time-series", "neural-ode-continues-what-it-fits"


def _with_field(data, name, axis, **changes):
    """A run's data beside the same of another kind, with some numbers changed."""
    moving = [variable for variable in data.data_vars if "seed" in data[variable].dims]
    other = data.assign(changes).assign_coords({axis: name})
    both = xarray.concat([data, other], axis, data_vars=moving, coords="minimal", compat="override", join="override")
    return both.assign_attrs(data.attrs)


def test_pelts_are_fitted_and_forecast(run):
    pelts = run("pelts")
    data = pelts.dataset
    assert set(verdicts(pelts, data).values()) == {"not judged"}  # it takes the equations too
    assert set(pelts.figures) == {"forecast", "fields", "errors", "training"}
    assert not data.failed.any()
    # The last steps are short and all years in view: the loss is the error that a precise solution has.
    np.testing.assert_allclose(data.loss.isel(iteration=-1) ** 0.5, data.fit_error, rtol=0.05)
    assert np.isfinite(data.forecast_error).all()
    # Naive forecasts are the same for every start, and the mean is that of the years that were seen.
    seen = np.log(data.observed.sel(year=slice(1900, 1913)))
    mean = np.log(data.naive.sel(last_year=1913, baseline="mean").isel(year=0))
    np.testing.assert_allclose(mean, np.tile(seen.mean("year"), (3, 1)), rtol=1e-12)
    later = data.naive.sel(last_year=1913, baseline="last cycle", year=1915).isel(seed=0)
    np.testing.assert_allclose(later, data.observed.sel(year=1905), rtol=1e-12)


def test_forecasts_are_judged_by_their_numbers(run):
    pelts = run("pelts")
    data = pelts.dataset
    fit, later = xarray.full_like(data.fit_error, 0.05), xarray.full_like(data.fit_error, 0.42)
    learned = data.assign(fit_error=fit, forecast_error=later)
    equations = {"fit_error": fit + 0.1, "forecast_error": later - 0.1}
    both = lambda learned, **more: verdicts(pelts, _with_field(learned, "lotka-volterra", "field", **equations | more))
    better, naive = "equations-forecast-better-than-a-learned-field", "neural-ode-forecasts-beat-naive-ones"
    assert both(learned) == {better: "confirmed", naive: "qualified"}
    assert survivors("neural_ode.pelts", _with_field(learned, "lotka-volterra", "field", **equations)) == []
    assert both(learned, forecast_error=later + 0.1)[better] == "refuted"
    assert both(learned, fit_error=fit)[better] == "refuted"
    elsewhere = later - 0.1 + 0.2 * (data.last_year == 1911)
    assert both(learned, forecast_error=elsewhere)[better] == "qualified"
    assert both(learned.assign(forecast_error=later + 1.0))[naive] == "refuted"
    assert both(learned.assign(forecast_error=later - 0.1))[naive] == "confirmed"
    # A start that failed is none of the better ones, whatever its error.
    failed = data.failed | (data.seed == 1)
    assert both(learned.assign(failed=failed))[naive] == "not judged"


def test_a_spiral_is_seen_at_uneven_times(run):
    spiral = run("spiral")
    data = spiral.dataset
    assert verdicts(spiral, data)[IRREGULAR] == "not judged"  # it takes the control too
    assert set(spiral.figures) == {"field", "solutions", "irregularity", "training"}
    gaps = data.time.diff("sample")
    np.testing.assert_allclose(gaps.sel(irregularity=0.0), 10 / 11, rtol=1e-12)
    assert (gaps > 0).all() and (gaps.sel(irregularity=1.0).std("sample") > 0.3).all()
    assert (data.time.isel(sample=[0, -1]) == [0.0, 10.0]).all()
    # A field fitted to noise of 0.03 in twelve states is not the true one, but its error is of its size.
    assert (data.loss.isel(iteration=-1) < data.loss.isel(iteration=0)).all()
    assert ((data.field_error > 0) & (data.field_error < 2)).all()


def test_uneven_times_are_judged_beside_a_control(run):
    spiral = run("spiral")
    data = spiral.dataset
    near = xarray.full_like(data.between_error, 0.03)
    known = data.assign(between_error=near, failed=data.failed & False)
    told = lambda known, control: verdicts(spiral, _with_field(known, 0.0, "clock", between_error=control))[IRREGULAR]
    far = near + 0.2 * (data.irregularity == 1.0)
    assert told(known, far) == "confirmed"
    assert told(known, near) == "refuted"  # a comparison that nothing fails tells nothing
    assert told(known.assign(between_error=near + 0.04 * (data.irregularity == 1.0)), far) == "refuted"
    assert told(known.assign(between_error=4 * near), far) == "refuted"
    assert told(known.assign(failed=known.failed | (data.seed < 2)), far) == "not judged"
    assert told(known.assign(failed=known.failed | (data.seed < 1)), far) == "confirmed"
    assert survivors("neural_ode.spiral", _with_field(known, 0.0, "clock", between_error=far)) == []
    later = lambda factor: verdicts(spiral, known.assign(forecast_error=factor * near))[CONTINUES]
    assert (later(20.0), later(1.5), later(np.nan)) == ("refuted", "confirmed", "not judged")


def test_starts_that_failed_are_drawn(run):
    for question, count in (("pelts", 3), ("spiral", 1)):
        data = run(question).dataset
        failed = data.failed | (data.seed < count)
        broken = data.assign(failed=failed, solution=data.solution.where(~failed))
        with style.context():
            figures = registry.load(f"neural_ode.{question}").part.figures
            assert figures is not None
            drawn = figures(broken)
        titles = [ax.get_title(loc) for figure in drawn.values() for ax in figure.axes for loc in ("left", "center")]
        assert f"{count} of 3" in " ".join([str(figure.get_label()) for figure in drawn.values()] + titles)


def test_what_is_not_seen_leaves_no_mark():
    from experiments.neural_ode._fit import fit

    times = jnp.arange(6.0)
    line = models.Model(lambda key: jnp.zeros(2), lambda slope, start, times: start + slope * times[:, None])
    ends = []

    def apply(slope, start, times):
        ends.append(times)
        return line.apply(slope, start, times)

    observed = jnp.stack([1 + 2 * times, 3 - times], axis=1)
    seen = times < 4
    fitted = lambda observed: fit(
        line._replace(apply=apply),
        (jnp.zeros(2), observed[0]),
        times,
        observed,
        seen,
        num_steps=400,
        learning_rate=0.05,
    )
    slope, start, losses = map(np.asarray, fitted(observed))
    np.testing.assert_allclose(slope, [2.0, -1.0], atol=1e-3)
    np.testing.assert_allclose(start, [1.0, 3.0], atol=1e-3)
    assert losses.shape == (400,) and float(losses[-1]) < 1e-6
    np.testing.assert_array_equal(ends[0], [0.0, 1.0, 2.0, 3.0, 3.0, 3.0])
    changed = fitted(observed.at[4:].set(99.0))
    np.testing.assert_array_equal(changed[0], slope)
