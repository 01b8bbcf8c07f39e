"""How often is the planned route to a Jacobian the best one?"""

import functools
from typing import ClassVar

from experiments import derivative_routes as routes
from experiments.derivative_routes import VARIABLES as VARIABLES
from experiments.derivative_routes import _figures
from experiments.derivative_routes import run as run

kind = "timed"


class Config(routes.Settings):
    operator: ClassVar[str] = "jacobian"
    problem: str = "5-point stencil"


figures = functools.partial(_figures.figures, Config.operator)
tables = functools.partial(routes.tables, Config.operator)

claims = routes.judges(Config.operator)
