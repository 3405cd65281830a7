"""`python -m theory list | show KEY | check KEY | compare`: read theorems, check, break and compare them."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(args: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 holds, 1 falsified, 2 usage, 3 inconclusive."""
    try:
        from theory._cli import run
    except ImportError as error:
        print(f"python -m theory needs {error.name}: pip install 'strongticket[cli]'", file=sys.stderr)
        return 2
    return run(args)


if __name__ == "__main__":
    from strongticket.cli.output import while_read

    sys.exit(while_read(main))
