"""A laboratory of somebody else's: a package with small experiments, outside of this project."""

import textwrap

import pytest

MODULES = {
    "__init__": "",
    "compiled": '''
        """A parabola walked down.

        More words."""
        from typing import Annotated, Literal
        import pydantic
        from jaxcalc.lab import Config as Base, Finding, Swept, Variable, less

        class Inner(Base):
            offset: Swept[float] = 0.0
            "where the parabola's minimum lies"

        class Config(Base):
            rate: Swept[float] = pydantic.Field(0.1, gt=0)
            """learning rate"""
            steps: int = pydantic.Field(4, ge=1)
            method: Literal["plain", "noisy"] = "plain"
            inner: Inner = Inner()

        kind = "compiled"
        VARIABLES = {
            "step": Variable(("step",), "", "step"),
            "value": Variable(("step",), "m", "value of the parabola"),
            "count": Variable((), "", "whole number"),
            "small": (("step",), "", "a flag"),
            "theory": (("place",), "", "the same for all"),
        }

        def run(config, key):
            import jax, jax.numpy as jnp
            x = 1.0 + jax.random.uniform(key) * (config.method == "noisy")
            def step(x, _):
                x = x - config.rate * 2 * (x - config.inner.offset)
                return x, (x - config.inner.offset) ** 2
            _, values = jax.lax.scan(step, x, None, length=config.steps)
            return {"step": jnp.arange(config.steps), "value": values,
                    "count": jnp.int32(config.steps), "small": values < 0.5}

        def shared(config):
            import numpy as np
            return {"theory": np.arange(7.0)}

        def figures(dataset):
            from jaxcalc import style
            figure, axis = style.subplots()
            axis.plot(dataset.step, dataset.value.isel({d: 0 for d in dataset.value.dims if d != "step"}))
            return {"descent": figure}

        claims = {"descends": lambda data: Finding(less(data.value.fillna(0).max(), 100.0), figure="descent")}
        ''',
    "host": '''
        """Ordinary Python."""
        import numpy as np
        from jaxcalc.lab import Config, Part, Variable

        class Wants(Config):
            size: int = 3
            act: str = "well"
            tag: str = ""

        def run(config, key):
            import os, time
            print("hello from the trial")
            if config.act == "exit":
                raise SystemExit(0)
            if config.act == "raise":
                raise RuntimeError("the experiment's own mistake")
            if config.act == "interrupt":
                raise KeyboardInterrupt
            if config.act == "hang":
                time.sleep(600)
            if config.act == "crash":
                os.abort()
            if config.act == "fill":
                held = [np.ones(2**27) for _ in range(20)]
                time.sleep(600)
            if config.act == "wrong":
                return {"x": np.zeros(3)}
            n = config.size
            return {"x": np.arange(n) / 2, "k": np.arange(n), "flag": np.arange(n) % 2 == 0,
                    "word": np.array([f"w{i}" for i in range(n)])}

        ragged = Part(
            Config=Wants, kind="host", run=run,
            VARIABLES={"x": (("i",), "s", "halves"), "k": (("i",), "", "whole"), "flag": (("i",), "", "even"),
                       "word": (("i",), "", "names")},
        )

        def clock(config, key):
            import time
            start = time.perf_counter()
            seconds = np.array([1.0 + config.size, 2.0, time.perf_counter() - start + 1.0])
            return {"seconds": seconds, "n": np.array(config.size)}

        timed = Part(Config=Wants, kind="timed", run=clock,
                     VARIABLES={"seconds": Variable(("repeat",), "s", "time"),
                                "n": Variable((), "", "size", measured=False)})
        ''',
    "branching": """
        from jaxcalc.lab import Config as Base, Swept

        class Config(Base):
            good: Swept[float] = 1.0
            bad: Swept[float] = 2.0

        kind = "compiled"
        VARIABLES = {"y": ((), "", "y")}

        def run(config, key):
            return {"y": config.good if config.bad > 0 else -config.good}
        """,
    "odd": """
        from jaxcalc.lab import Config as Base, Part, Swept

        class Config(Base):
            scale: float = 1.0
            either: Swept[int | float] = 1
            whole: Swept[int] = 1
            flag: Swept[bool] = False

        kind = "compiled"
        VARIABLES = {"scaled": ((), "", "scale"), "number": ((), "", "e"), "count": ((), "", "w"),
                     "sign": ((), "", "f"), "narrow": ((), "", "a bfloat16")}

        def run(config, key):
            import jax.numpy as jnp
            return {"scaled": jnp.asarray(config.scale), "number": config.either, "count": config.whole,
                    "sign": config.flag, "narrow": jnp.bfloat16(1.5)}

        class Column(Base):
            how: str = "well"

        def column(config, key):
            import numpy as np
            x = {"well": [0.0, 1.0], "longer": [1.0, 2.0, 3.0], "dup": [0.0, 0.0], "nan": [0.0, np.nan]}[config.how]
            return {"x": np.array(x), "y": np.arange(len(x)) + 10}

        own = Part(Config=Column, kind="host", run=column,
                   VARIABLES={"x": (("x",), "m", "place"), "y": (("x",), "", "y")})
        """,
    "plain": """
        import pydantic
        from typing import Annotated, Optional
        from jaxcalc.lab import Swept

        class Config(pydantic.BaseModel):
            a: Annotated[float, Swept] = 1.0
            b: Optional[Swept[int]] = 2

        kind = "compiled"
        VARIABLES = {"y": ([], "", "sum")}

        def run(config, key):
            return {"y": config.a + config.b}
        """,
    "broken": "import nothing_of_this_name\n",
    "lacking": "kind = 'host'\n",
}


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """The folder of somebody else's repository."""
    folder = tmp_path_factory.mktemp("elsewhere")
    package = folder / "theirs"
    package.mkdir()
    for name, text in MODULES.items():
        (package / f"{name}.py").write_text(textwrap.dedent(text).lstrip("\n"))
    (package / "ledger.yaml").write_text("- id: descends\n  statement: The value falls.\n")
    return folder


@pytest.fixture
def there(elsewhere, monkeypatch, tmp_path):
    """Work in that folder, with a cache of one's own; returns a function that writes a config there."""
    monkeypatch.chdir(elsewhere)
    monkeypatch.syspath_prepend(str(elsewhere))
    monkeypatch.setenv("JAXCALC_CACHE", str(tmp_path / "cache"))

    def write(text, name="config.yaml"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write
