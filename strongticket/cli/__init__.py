"""The command `strongticket`: construct, find, prune, certify, show, bound, train. `strongticket --help` tells more."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from strongticket.cli.output import while_read

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 the answer is no, 2 bad input.

    Args:
        arguments: words of the command line; those of the process if left out.
    """
    return while_read(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        import tyro
    except ModuleNotFoundError as error:
        print(f"the command needs {error.name}: pip install 'strongticket[cli]'", file=sys.stderr)
        return 2
    from strongticket.cli._options import COMMANDS, Bound

    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="strongticket",
        description="Strong lottery tickets: a trained network as a 0/1 mask on one frozen random network, with proof.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    try:
        if isinstance(command, Bound):
            from strongticket.cli._bound import run as run_bound

            return run_bound(command)
        from strongticket.cli import _commands  # torch is loaded only after the options were understood

        return _commands.run(command)
    except BrokenPipeError:
        raise
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"strongticket: {error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        print(f"strongticket: too large for this machine, or diverged: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("strongticket: interrupted; nothing was written", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
