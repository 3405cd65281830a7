"""Build the site: `python docs/build.py out/docs`. No network is used, and none is needed to read it.

The written pages and those that are made from the code come together in a temporary folder, so that the checkout stays
as it is and two builds do not meet. Warnings are errors.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
_WRITTEN = ("*.md", "tutorials/*.md", "figures/*.png", "conf.py", "static/*")
_EPOCH = "1767225600"  # the date that archives and pages carry: one and the same, so that builds can be compared

sys.path[:0] = [str(HERE.parent), str(HERE)]


@contextmanager
def staged() -> Iterator[Path]:
    """A folder with every page of the site as source."""
    from generate import commands, gallery, rooms, theorems

    pages = {f"api/{room}": rooms.page(room) for room in rooms.rooms()}
    pages |= {f"theorems/{paper}": theorems.page(paper) for paper in theorems.papers()}
    pages |= {"api/index": rooms.index(), "theorems/index": theorems.index()}
    pages |= {"commands": commands.page(), "gallery": gallery.page()}
    with tempfile.TemporaryDirectory(prefix="strongticket-docs-") as made:
        folder = Path(made)
        for pattern in _WRITTEN:
            for path in sorted(HERE.glob(pattern)):
                place = folder / path.relative_to(HERE)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
        for name, text in pages.items():
            path = folder / f"{name}.rst"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield folder


def build(out: Path, *, strict: bool = True) -> int:
    """Write the site into a folder and return Sphinx's exit status."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", _EPOCH)
    os.environ.setdefault("TZ", "UTC")
    from sphinx.cmd.build import main

    with staged() as source, tempfile.TemporaryDirectory(prefix="strongticket-doctrees-") as doctrees:
        options = ["-W", "--keep-going"] if strict else []
        return int(main(["-q", "-b", "html", *options, "-d", doctrees, str(source), str(out)]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("out", type=Path, nargs="?", default=Path("out/docs"), help="folder of the site")
    status = build(parser.parse_args().out)
    sys.exit(status)
