"""How often is the planned route to a Jacobian the best one?"""

import functools

import pydantic

from experiments import _contest
from experiments import derivative_routes as routes
from experiments.derivative_routes import VARIABLES as VARIABLES
from experiments.derivative_routes import _figures

kind = "timed"


class Config(routes.Settings):
    problem: str = "5-point stencil"
    """a case of jaxcalc.scenarios"""

    @pydantic.field_validator("problem")
    @classmethod
    def _in_the_catalogue(cls, name: str) -> str:
        return routes.known_case("jacobian", name)


def run(config, key):
    return _contest.hold("jacobian", config)


figures = functools.partial(_figures.figures, "jacobian")
tables = functools.partial(routes.tables, "jacobian")

claims = routes.judges("jacobian")
