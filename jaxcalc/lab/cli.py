"""The command line: ``jaxcalc run | list | check | show | info | schema | plot | compare | report | reproduce |
evidence``."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jaxcalc
from jaxcalc.lab.errors import ConfigError, MissingModule

DONE, FAILED, BAD_CONFIG, NOT_INSTALLED, INTERRUPTED = 0, 1, 2, 3, 130


def entry() -> None:
    """The ``jaxcalc`` command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Args:
      argv: the arguments after the program's name.

    Returns:
      0 done; 1 a trial, a claim or a comparison failed; 2 a bad config or command line; 3 an experiment
      needs a module that is not installed; 130 interrupted.
    """
    parser = _parser()
    try:
        options, rest = parser.parse_known_args(list(argv))
        takes = hasattr(options, "overrides")  # key=value may also stand behind an option
        late = [word for word in rest if takes and "=" in word and not word.startswith("-")]
        if unknown := [word for word in rest if word not in late]:
            parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        if late:
            options.overrides = [*options.overrides, *late]
    except SystemExit as ended:
        return int(ended.code or 0)
    if "command" not in options:
        parser.print_help()
        return BAD_CONFIG
    code = DONE
    try:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
        code = options.command(options)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        print(f"jaxcalc: {error}", file=sys.stderr)
        return NOT_INSTALLED if isinstance(error, MissingModule) else BAD_CONFIG
    except KeyboardInterrupt:
        print("\njaxcalc: interrupted; finished trials are kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code
    except OSError as error:
        print(f"jaxcalc: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxcalc",
        description="Every derivative by the cheapest route, and the evidence for it.",
        epilog="example:\n  jaxcalc run configs/quickstart.yaml",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"jaxcalc {jaxcalc.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")

    def command(name: str, run: Callable[[Any], int], purpose: str, example: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=purpose,
            description=f"{purpose[:1].upper()}{purpose[1:]}.",
            epilog=f"example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        added.set_defaults(command=run)
        return added

    new = command(
        "run",
        _run,
        "run a config, or go on with it",
        "jaxcalc run configs/gradient_descent.yaml seed=3 rate=0.5,1.9",
    )
    _config_arguments(new)
    new.add_argument("--dry-run", action="store_true", help="print points, programs, chunks and sizes; run nothing")
    new.add_argument("--fresh", action="store_true", help="start anew instead of going on")
    new.add_argument("--out", metavar="DIR", default="runs", help="the folder that holds runs (default: runs)")
    new.add_argument("--fail-fast", action="store_true", help="stop at the first trial that fails")
    listing = command("list", _list, "list the configs and questions in reach", "jaxcalc list")
    listing.add_argument("--runnable", action="store_true", help="only what jaxcalc run takes here, one a line")
    _config_arguments(
        command("check", _check, "check a config without running it", "jaxcalc check configs/newton.yaml")
    )
    _config_arguments(
        command(
            "show",
            _show,
            "show every value of a config and where it came from",
            "jaxcalc show configs/newton.yaml dtype=float32",
        )
    )
    command("info", _info, "tell versions, devices and folders", "jaxcalc info")
    shape = command(
        "schema", _schema, "write the JSON Schema of configs, which editors read", "jaxcalc schema configs/schema.json"
    )
    shape.add_argument(
        "file", metavar="FILE", nargs="?", default="configs/schema.json", help="where to (default: configs/schema.json)"
    )
    _plot_arguments(
        command(
            "plot",
            _plot,
            "draw any variable of a run",
            "jaxcalc plot runs/newton-0123456789ab --y error --x step --hue case --log y",
        )
    )
    two = command(
        "compare",
        _compare,
        "compare two runs: ratios of medians with intervals",
        "jaxcalc compare runs/newton-0123456789ab runs/newton-ba9876543210 --threshold 1.1",
    )
    two.add_argument("run", metavar="RUN", help="the baseline: a run's folder or results.nc")
    two.add_argument("other", metavar="RUN", help="the run held against it")
    two.add_argument(
        "--variable", "-v", action="append", metavar="NAME", help="a variable to compare (default: all measured)"
    )
    two.add_argument("--over", action="append", metavar="DIM", help="a dimension of repeats (default: repeat and seed)")
    two.add_argument("--threshold", type=_positive, help="exit 1 where a ratio's whole interval lies above this")
    two.add_argument(
        "--out", "-o", metavar="FILE", help="draw the ratios into this file (default: compare.svg in the second run)"
    )
    again = command(
        "report",
        _report,
        "draw figures, judge claims and write the report of a finished run anew",
        "jaxcalc report runs/newton-0123456789ab --format pdf",
    )
    again.add_argument("run", metavar="RUN", help="a run's folder")
    again.add_argument(
        "--format", action="append", choices=("png", "pdf"), default=[], help="further formats for figures"
    )
    rerun = command(
        "reproduce",
        _reproduce,
        "run one trial again and tell whether its arrays are equal",
        "jaxcalc reproduce runs/newton-0123456789ab/trials/fedcba987654",
    )
    rerun.add_argument("trial", metavar="TRIAL", help="a trial's folder")
    judged = command(
        "evidence",
        _evidence,
        "run what the ledger's claims need and print every verdict",
        "jaxcalc evidence activations relu-values",
    )
    judged.add_argument("names", metavar="NAME", nargs="*", help="claims, parts, topics or configs (default: all)")
    judged.add_argument("--out", metavar="DIR", default="runs", help="the folder that holds runs (default: runs)")
    return parser


def _config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, or a question by its name")
    parser.add_argument(
        "overrides", metavar="KEY=VALUE", nargs="*", default=[], help="replace a value; KEY=1,2,3 sweeps it"
    )


def _plot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run's folder or results.nc")
    parser.add_argument("--y", metavar="NAME", help="the variable (default: the first that has an axis)")
    parser.add_argument("--x", metavar="DIM", help="the dimension along x (default: the last numeric one)")
    parser.add_argument("--hue", metavar="DIM", help="the dimension told apart by colour")
    parser.add_argument("--row", metavar="DIM", help="the dimension with a row of panels for each value")
    parser.add_argument("--col", metavar="DIM", help="the dimension with a column of panels for each value")
    parser.add_argument("--log", choices=("x", "y", "xy"), default="", help="logarithmic axes")
    parser.add_argument(
        "--select", action="append", metavar="DIM=VALUE", default=[], help="keep one value of a dimension"
    )
    parser.add_argument(
        "--out", "-o", metavar="FILE", help="the file to draw into: svg, pdf or png (default: in the run)"
    )


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return value


# --- the commands: each imports what it needs, so that the light ones stay light -------------------------------------


def _run(options: Any) -> int:
    from jaxcalc.lab.config import runs
    from jaxcalc.lab.runner import run
    from jaxcalc.lab.summary import dry_run, outcome
    from jaxcalc.lab.sweep import open_plan

    codes = []
    configs = runs(options.config)
    if len(configs) > 1:  # a mistake in the last of several runs is told before the first one takes its time
        for config in configs:
            with contextlib.suppress(MissingModule):
                open_plan(config, tuple(options.overrides))
    for config in configs:
        if len(configs) > 1:
            print(f"== {config}", flush=True)
        if options.dry_run:
            print(dry_run(open_plan(config, tuple(options.overrides))))
            continue
        choices = {"out": options.out, "fresh": options.fresh, "fail_fast": options.fail_fast}
        try:
            finished = run(config, *options.overrides, **choices)
        except MissingModule as error:
            if len(configs) == 1:
                raise
            print(error, file=sys.stderr)
            codes.append(NOT_INSTALLED)
            continue
        print(outcome(finished))
        codes.append(finished.exit_code)
    return next((code for code in (FAILED, NOT_INSTALLED) if code in codes), DONE)


def _list(options: Any) -> int:
    from jaxcalc.lab.summary import listing, runnable

    print("\n".join(runnable()) if options.runnable else listing())
    return DONE


def _check(options: Any) -> int:
    from jaxcalc.lab.config import runs
    from jaxcalc.lab.sweep import open_plan

    for config in runs(options.config):
        plan = open_plan(config, tuple(options.overrides))
        print(f"{config}: good; {plan.num_points} points of {plan.experiment.name} ({plan.experiment.kind})")
    return DONE


def _show(options: Any) -> int:
    from jaxcalc.lab.config import runs
    from jaxcalc.lab.summary import shown
    from jaxcalc.lab.sweep import open_plan

    print("\n\n".join(shown(open_plan(config, tuple(options.overrides))) for config in runs(options.config)))
    return DONE


def _info(options: Any) -> int:
    from jaxcalc.lab.summary import information

    print(information())
    return DONE


def _schema(options: Any) -> int:
    from jaxcalc.lab.schema import write

    print(f"{options.file}: {write(Path(options.file))} questions")
    return DONE


def _plot(options: Any) -> int:
    from jaxcalc.lab.plot import plot_file

    print(plot_file(options))
    return DONE


def _compare(options: Any) -> int:
    from jaxcalc.lab.compare import compare_files

    text, past = compare_files(options)
    print(text)
    return FAILED if past else DONE


def _report(options: Any) -> int:
    from jaxcalc.lab.report import redo
    from jaxcalc.lab.summary import outcome

    run = redo(Path(options.run), tuple(options.format))
    print(outcome(run))
    return run.exit_code


def _reproduce(options: Any) -> int:
    from jaxcalc.lab.reproduce import reproduce

    text, equal = reproduce(Path(options.trial))
    print(text)
    return DONE if equal else FAILED


def _evidence(options: Any) -> int:
    from jaxcalc.lab.evidence import evidence

    found = evidence(options.names, out=options.out)
    print(found)
    return DONE if found.passed else FAILED
