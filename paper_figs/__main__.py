"""Draw figures from a terminal: `python -m paper_figs [NAME...] [--results FOLDER] [--out FOLDER] [--format png]`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paper_figs._options import Draw

__all__ = ["main"]

PROGRAM = "python -m paper_figs"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 all drawn, 1 results are missing, 2 bad usage."""
    try:
        import tyro

        from paper_figs import _options
    except ModuleNotFoundError as error:
        print(f"the command needs {error.name}: pip install 'strongticket[cli]'", file=sys.stderr)
        return 2
    options = tyro.cli(_options.Draw, prog=PROGRAM, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))
    try:
        return _draw(options)
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def _draw(options: Draw) -> int:
    from experiments import MissingRuns
    from paper_figs import figure, names
    from strongticket.runs import Store

    chosen = [(name, figure(name)) for name in options.names or names()]
    missing = 0
    for name, module in chosen:
        if options.list:
            print(f"{name}: {(module.__doc__ or '').splitlines()[0]} (needs {', '.join(module.NEEDS)})")
            continue
        try:
            for path in module.draw(Store(options.results), options.out, options.formats):
                print(path)
        except MissingRuns as error:
            missing += 1
            print(f"{name}: not drawn: {error}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    from strongticket.cli.output import while_read

    sys.exit(while_read(main))
