"""The site: built without a warning, links that lead somewhere, every public name, and nothing that is loaded."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import theory

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.xdist_group("the site"),
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("sphinx", "myst_parser", "furo")),
        reason="the site needs pip install 'strongticket[docs]'",
    ),
]

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}


class Page(HTMLParser):
    """What a page has: ids, links, what it loads on its own, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.words: list[str] = []
        self.images_without_words = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in LOADING and values.get(LOADING[tag]):
            self.loads.append(values[LOADING[tag]])
        self.images_without_words += tag == "img" and not values.get("alt")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "docs" / "build.py"), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=out, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # warnings are errors
    assert "WARNING" not in done.stderr
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_links_inside_the_site_lead_somewhere(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = place.is_file() and (
                not parts.fragment or place not in pages or unquote(parts.fragment) in pages[place].ids
            )
            if not there:
                broken.append(f"{path.name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    outside = {f"{path.name}: {place}" for path, page in pages.items() for place in page.loads if "//" in place}
    assert outside == set()
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        assert "url(http" not in text, sheet
        assert "@import" not in text, sheet


def public_names() -> Iterator[tuple[str, str]]:
    import strongticket

    inside = [path.stem for path in Path(strongticket.__file__).parent.iterdir() if not path.name.startswith("_")]
    for room in ("strongticket", *(f"strongticket.{name}" for name in sorted(set(inside))), "theory", "experiments"):
        if find_spec(room) is not None:
            for name in getattr(importlib.import_module(room), "__all__", ()):
                yield room, name


def test_every_public_name_has_an_entry_on_its_room_s_page(site: Path, pages: dict[Path, Page]) -> None:
    names = list(public_names())
    assert len(names) > 300
    missing = []
    for room, name in names:
        page = pages.get(site / "api" / f"{room}.html")
        if page is None or f"{room}.{name}" not in page.ids:
            missing.append(f"{room}.{name}")
    assert missing == []


def test_every_theorem_is_there_with_its_formula(site: Path, pages: dict[Path, Page]) -> None:
    for theorem in theory.all():
        path = site / "theorems" / f"{theorem.paper}.html"
        text = " ".join("".join(pages[path].words).split())
        assert theorem.key in text
        assert theorem.statement.split(". ")[0][:60].replace("`", "") in text, theorem.key
        formulas = path.read_text(encoding="utf-8").count("<math ")
        assert formulas >= len({bound.key for bound in theorem.bounds}), theorem.key


def test_every_image_has_words_for_those_who_do_not_see_it(pages: dict[Path, Page]) -> None:
    assert {path.name: page.images_without_words for path, page in pages.items() if page.images_without_words} == {}


def test_the_commands_are_those_of_the_programs(site: Path, pages: dict[Path, Page]) -> None:
    from strongticket.cli._options import COMMANDS

    text = "".join(pages[site / "commands.html"].words)
    for name in COMMANDS:
        assert f"usage: strongticket {name}" in text
    for name in ("list", "show", "check", "compare"):
        assert f"usage: python -m theory {name}" in text
    assert "usage: python -m experiments run" in text


def test_docstrings_come_out_as_the_plain_text_they_are(site: Path, pages: dict[Path, Page]) -> None:
    text = " ".join("".join(pages[site / "api" / "strongticket.pruning.html"].words).split())
    assert "Rank weights by |w|: the baseline" in text
    assert "`" not in "".join(pages[site / "api" / "strongticket.certificate.html"].words)
    solve = " ".join("".join(pages[site / "api" / "strongticket.subsetsum.html"].words).split())
    assert "[batch, n], [pools, n] or [n]" in solve  # the shapes that stand in comments of the signature


@pytest.mark.parametrize("word", ["ticket", "density", "certificate", "optimistic twin"])
def test_words_of_the_glossary_can_be_linked(word: str, site: Path, pages: dict[Path, Page]) -> None:
    assert f"term-{word.replace(' ', '-')}" in pages[site / "glossary.html"].ids
