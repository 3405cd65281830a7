"""The command `strongticket`: construct, find, certify, show, bound, train. `strongticket --help` tells the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 the answer is no, 2 bad input.

    Args:
        arguments: words of the command line; those of the process if left out.
    """
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

            status = run_bound(command)
        else:
            from strongticket.cli import _commands  # torch is loaded only after the options were understood

            status = _commands.run(command)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the output has gone, which is their right
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, TypeError, OSError) as error:
        print(f"strongticket: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
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
