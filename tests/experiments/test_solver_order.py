"""A small run of the solvers' question: orders of a few, what breaks them, and what is not judged."""

import numpy as np

from jaxcalc import lab
from tests.verdicts import survivors, verdicts

ORDERS, PAYS = "solvers-reach-their-orders", "higher-order-pays-at-small-errors"


def test_orders_are_read_from_the_finest_errors_that_are_clear_of_rounding(cache, tmp_path):
    steps = [4, 8, 16, 24, 32, 64, 128, 256]
    solvers = {"grid": {"solver": ["euler", "rk4", "dopri8", "kvaerno3"]}}
    config = {"experiment": "solver_order", "params": {"steps": steps}, "sweep": solvers}
    run = lab.run(config, out=tmp_path, progress=False)
    assert run.messages == [] and set(run.figures) == {"orders"}
    assert survivors("solver_order", run.dataset) == []
    assert verdicts(run, run.dataset) == {ORDERS: "not judged", PAYS: "confirmed"}  # four solvers of fifteen
    orders = {row["solver"]: row["driven growth"] for row in run.tables["Measured orders"]}
    assert {name: round(float(order)) for name, order in orders.items()} == {
        "euler": 1,
        "rk4": 4,
        "dopri8": 8,
        "kvaerno3": 3,
    }
    slow = run.dataset.error.where(run.dataset.solver != "dopri8", 1.0)
    assert verdicts(run, run.dataset.assign(error=slow))[PAYS] == "refuted"
    assert np.isnan(run.dataset.evaluations.sel(solver="kvaerno3")).all()
