"""How often is the planned route to a Laplacian the best one?"""

import functools

import pydantic

from experiments import _contest
from experiments import derivative_routes as routes
from experiments.derivative_routes import VARIABLES as VARIABLES
from experiments.derivative_routes import _figures

kind = "timed"


class Config(routes.Settings):
    problem: str = "harmonic"
    """a case of jaxcalc.scenarios"""

    @pydantic.field_validator("problem")
    @classmethod
    def _in_the_catalogue(cls, name: str) -> str:
        return routes.known_case("laplacian", name)


def run(config, key):
    return _contest.hold("laplacian", config)


figures = functools.partial(_figures.figures, "laplacian")
tables = functools.partial(routes.tables, "laplacian")

claims = routes.judges("laplacian")
