"""Run experiments from a terminal: `python -m experiments list | run | status | collect | clean | report | demo`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments._commands_options import Command

__all__ = ["main"]

PROGRAM = "python -m experiments"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0 done; 1 some runs failed, or are missing or damaged; 2 bad usage, or a folder or a cluster that cannot be used;
    130 interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        import rich  # noqa: F401
        import tyro

        if given[:1] == ["demo"]:
            # its options live in its own module, which the help of the others need not load
            demo = importlib.import_module("experiments.demo")
            return int(demo.main(tyro.cli(demo.Demo, args=given[1:], prog=f"{PROGRAM} demo", config=_config())))
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "tyro"):
            raise
        print(f"the command needs {error.name}: pip install 'strongticket[cli]'", file=sys.stderr)
        return 2
    options = _parse(given)
    try:
        return _do(options)
    except (ValueError, OSError, ImportError) as error:
        if isinstance(error, ImportError) and "pip install" not in str(error):
            raise  # no missing extra but a fault, whose traceback is wanted
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _do(options: Command) -> int:
    """Do a command; each loads no more than it needs."""
    from experiments._commands_options import Clean, Collect, List, Report, Run, Status

    if isinstance(options, Run):
        from experiments._commands_run import run

        return run(options)
    if isinstance(options, Collect):
        from experiments._commands_collect import collect

        return collect(options)
    if isinstance(options, Clean):
        from experiments._commands_clean import clean

        return clean(options)
    if isinstance(options, Report):
        from experiments._commands_report import report

        return report(options)
    from experiments._commands_status import list_them, status

    if isinstance(options, List):
        return list_them(options)
    assert isinstance(options, Status)  # the demo was done above
    return status(options)


def _config() -> tuple[Any, ...]:
    import tyro

    return (tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.PositionalRequiredArgs)


def _parse(given: list[str]) -> Command:
    import tyro

    from experiments import _commands_options as asked

    commands: dict[str, Callable[..., Any]] = {
        kind.__name__.lower(): kind
        for kind in (asked.List, asked.Run, asked.Status, asked.Collect, asked.Clean, asked.Report, asked.Demo)
    }
    options: Command = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog=PROGRAM,
        description="Experiments with strong lottery tickets; draw their results with python -m paper_figs.",
        args=given,
        config=_config(),
    )
    return options


if __name__ == "__main__":
    from strongticket.cli.output import while_read

    sys.exit(while_read(main))
