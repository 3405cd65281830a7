"""The report without a browser: well-formed, complete, escaped, self-contained, the same bytes again."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import itertools
import math
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
import sympy

import theory
from experiments import find, names
from experiments.comparison import Comparison
from experiments.falsification import Falsification
from experiments.looseness import Looseness
from paper_figs.report import _figures, _page, build, needs
from paper_figs.report._explorer import VIEWS, explorer_script
from paper_figs.report._html import Markup, el, text
from paper_figs.report._javascript import UnsupportedFunctionError, javascript, javascript_bound
from paper_figs.report._mathml import formula
from paper_figs.report._prose import citations, cite, prose
from paper_figs.report._results import Missing, Study, Watched, read
from paper_figs.report._symbols import control
from paper_figs.report._tables import Cell, _common, _merged, table
from strongticket import bounds
from strongticket.bounds import Bound, Formula, Hypothesis, Relation
from strongticket.runs import Record, Spec, Store, execute

pytestmark = pytest.mark.xdist_group("the report")

_EMPTY = {"br", "col", "hr", "img", "input", "link", "meta", "wbr"}
_KEYS = ("lueker1998exponentially.explicit", "pensia2020optimal.theorem2", "lueker1998exponentially.coverage_floor")
_REAL = {one: one.__dict__["presets"] for one in (Falsification, Looseness, Comparison)}
X = sympy.Symbol("x", real=True)


class Page(HTMLParser):
    """Reads a page strictly: every element that is opened is closed, in order."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(content)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), attrs
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.said.append(data)

    def all(self, attribute: str) -> list[str]:
        return [str(found[attribute]) for _, found in self.elements if attribute in found]


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    """Presets of seconds, and two figures."""
    with pytest.MonkeyPatch.context() as patch:
        quick: list[tuple[type, list[object]]] = [
            (Falsification, [Falsification(key, (), block, 20) for key in _KEYS for block in (0, 1)]),
            (Looseness, [Looseness(theorem=_KEYS[0], trials=30, twin_trials=20, factors=(1.0, 64.0))]),
            (Comparison, [Comparison("3-2-2", 0.3, runs=1, papers=("pensia2020optimal",), seed=s) for s in (0, 1)]),
        ]
        for experiment, runs in quick:
            presets: Mapping[str, Sequence[object]] = {"quick": runs}
            patch.setattr(experiment, "presets", classmethod(lambda cls, presets=presets: presets))
        patch.setattr(_figures, "names", lambda: ["fig13_comparison", "fig12_threshold"])
        patch.setattr(_page, "figure_names", lambda: ["fig13_comparison", "fig12_threshold"])
        yield patch


@pytest.fixture
def real_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The presets as they are, in whatever order tests run."""
    for experiment, presets in _REAL.items():
        monkeypatch.setattr(experiment, "presets", presets)


@pytest.fixture(scope="module")
def store(patched: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("report") / "results")
    for experiment in (Falsification, Looseness, Comparison):
        assert execute([run.spec for run in experiment.preset("quick")], experiment.function(), store).complete
    return store


@pytest.fixture(scope="module")
def content(store: Store) -> str:
    path = build(store, store.folder.parent / "out" / "page.html", check_steps=False)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def parsed(content: str) -> Page:
    return Page(content)


def test_the_page_is_well_formed(content: str, parsed: Page) -> None:
    assert content.startswith("<!DOCTYPE html>")
    ids = Counter(parsed.all("id"))
    assert max(ids.values()) == 1, ids.most_common(3)
    for attribute in ("aria-labelledby", "aria-describedby", "for"):
        assert set(" ".join(parsed.all(attribute)).split()) <= set(ids)
    inside = {href[1:] for href in parsed.all("href") if href.startswith("#")}
    assert inside <= set(ids), inside - set(ids)


def test_headings_go_down_one_by_one(parsed: Page) -> None:
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_nothing_is_loaded_from_anywhere(content: str, parsed: Page) -> None:
    for tag, found in parsed.elements:
        assert not [name for name in found if name.startswith("on") or name == "style"], (tag, found)
        assert tag not in ("iframe", "object", "embed", "base", "form")
        if "src" in found or tag == "link":
            assert str(found.get("src", found.get("href"))).startswith("data:"), found
    style = re.search("<style>(.*?)</style>", content, re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_policy_allows_this_style_and_this_script_alone(content: str, parsed: Page) -> None:
    (policy,) = [str(found["content"]) for _, found in parsed.elements if "http-equiv" in found]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", content, re.S)
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_every_theorem_and_every_bound_is_there(content: str, parsed: Page) -> None:
    ids = set(parsed.all("id"))
    for theorem in theory.all():
        assert f"theorem-{theorem.key.replace('.', '-').replace('_', '-')}" in ids
    for bound in bounds.all():
        assert f"bound-{bound.key.replace('.', '-').replace('_', '-')}" in ids
        assert f"math-{bound.key.replace('.', '-').replace('_', '-')}" in ids
        assert f'"{bound.key}":{{value:v=>' in content


def test_verdicts_come_with_interval_p_level_and_runs(store: Store, parsed: Page) -> None:
    said = " ".join(parsed.said)
    runs = {key: [run.spec.key for run in Falsification.preset("quick") if run.theorem == key] for key in _KEYS}
    from experiments import finished
    from experiments.falsification import reports

    for report in reports(finished(Falsification, "quick", store)):
        assert f"{report.trials}: {report.failures} failed" in said
        assert "adjusted" in said
        assert f"{report.family} claims of the study" in said
        assert all(key[:12] in said for key in runs[report.key])
    assert "holds so far" in said
    assert "falsified at 1e-06 or less" in said
    for run in (*Falsification.preset("quick"), *Looseness.preset("quick"), *Comparison.preset("quick")):
        assert run.spec.key in said  # under provenance


def test_missing_runs_are_named_with_their_command(store: Store, parsed: Page) -> None:
    said = " ".join(parsed.said)
    assert f"python -m experiments run imp --preset quick --results {store.folder}" in said
    assert f"python -m experiments run quantized_threshold --preset quick --results {store.folder}" in said  # a figure
    assert f"python -m experiments run comparison --preset quick --results {store.folder}" in said  # made it
    images = [found for tag, found in parsed.elements if tag == "img"]
    assert len(images) == 1
    assert len(str(images[0]["alt"])) > 20


def test_a_figure_names_every_preset_that_it_draws_and_none_that_it_does_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The search figures draw the digits and MNIST; once the page named MNIST's runs alone."""
    runs = Comparison.preset("quick")
    absent = dataclasses.replace(runs[0], seed=10_001)
    presets = {"quick": runs, "one": runs[:1], "more": [*runs, absent]}
    monkeypatch.setattr(Comparison, "presets", classmethod(lambda cls: presets))
    watched = Watched(store)
    assert watched.studies("comparison") == []
    assert watched.collect(run.spec for run in (*runs, absent)).missing  # so nothing of it is drawn
    assert watched.studies("comparison") == []
    assert not watched.collect([runs[0].spec]).missing
    (some,) = watched.studies("comparison")
    assert (some.preset, some.counted) == ("one", "1 run")
    assert not watched.collect(run.spec for run in runs).missing
    (whole,) = watched.studies("comparison")
    assert (whole.preset, [record.spec for record in whole.records]) == ("quick", [run.spec for run in runs])
    monkeypatch.setattr(Comparison, "presets", classmethod(lambda cls: {"more": presets["more"]}))
    (part,) = watched.studies("comparison")
    assert part.counted == f"{len(runs)} of {len(runs) + 1} runs"
    assert part.counted in part.source()


@pytest.mark.usefixtures("real_presets")
def test_the_same_store_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With another order of sets and in another process too; of an empty store, where all is missing."""
    code = (
        "from pathlib import Path; from paper_figs.report import _figures, _page, build\n"
        "from strongticket.runs import Store\n"
        "_figures.names = _page.figure_names = lambda: ['fig13_comparison', 'fig12_threshold']\n"
        f"build(Store('nothing'), Path({str(tmp_path / 'there.html')!r}), check_steps=False)\n"
    )
    monkeypatch.setattr(_figures, "names", lambda: ["fig13_comparison", "fig12_threshold"])
    monkeypatch.setattr(_page, "figure_names", lambda: ["fig13_comparison", "fig12_threshold"])
    here = build(Store("nothing"), tmp_path / "here.html", check_steps=False).read_bytes()
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
    assert (tmp_path / "there.html").read_bytes() == here
    assert b"Not made yet" in here
    assert not list(tmp_path.glob(".*"))


@pytest.mark.usefixtures("real_presets")
def test_needs_are_experiments_and_presets_that_exist() -> None:
    for name, preset in needs("quick") + needs("default"):
        assert preset in find(name).presets()
    assert ("looseness", "every") in needs("quick")
    assert {"comparison", "proofs", "search_methods", "imp", "elastic"} <= {name for name, _ in needs("quick")}
    assert {name for name, _ in needs("default")} <= set(names())
    with pytest.raises(ValueError, match="no experiment has a preset 'nosuch'"):
        build(Store("nothing"), Path("never.html"), preset="nosuch")
    assert not Path("never.html").exists()


def test_text_is_escaped_everywhere() -> None:
    bad = '</script><img src=x onerror="alert(1)">&'
    for shown in (text(bad), prose(bad), el("p", bad, title=bad), table([{bad: bad, "n": Cell(bad, 1.0)}], bad)):
        assert "<img" not in shown
        assert "</script" not in shown
        assert 'onerror="' not in shown
    entry = {"author": "A <b>, C", "title": bad, "year": "2020", "doi": '"><script>'}
    assert "<script" not in cite(entry, "key")
    quantity = "</script><script>alert(1)</script>"
    evil = Formula(sympy.log(X), (Hypothesis(quantity, X > 0, quantity),))
    bound = Bound("a2000b.c", quantity, Relation.UPPER, lambda: evil, "here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paper_figs.report._explorer.control", lambda b, s: control(bounds.get(_items()), "eps"))
        patch.setattr("paper_figs.report._explorer.controls", lambda found: ())
        assert "\\u003c/script>" in explorer_script([bound])
        assert "</script" not in explorer_script([bound])


def _items() -> str:
    return "lueker1998exponentially.theorem"


def test_elements_leave_out_what_is_not_there() -> None:
    assert el("input", checked=True, disabled=False, value=None) == "<input checked>"
    assert text([None, "a<", Markup("<b>"), ["c"]]) == "a&lt;<b>c"


def test_functions_that_the_page_cannot_compute_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedFunctionError, match=r"cannot compute gamma in gamma\(x\)"):
        javascript(sympy.gamma(X))
    wrong = Formula(sympy.log(X), (Hypothesis("sin x > 0", sympy.sin(X) > 0, ""),))
    with pytest.raises(UnsupportedFunctionError, match=r"^a2000b\.c: the page cannot compute sin"):
        javascript_bound(Bound("a2000b.c", "", Relation.UPPER, lambda: wrong, "here"))
    with pytest.raises(ValueError, match="how to set gamma"):
        formula(sympy.gamma(X))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (sympy.Rational(1, 3) * X, 'D.mul(D.over([1,0],[3,0]),v["x"])'),
        (X ** sympy.Rational(3, 2), 'D.pow(v["x"],D.over([3,0],[2,0]))'),
        (sympy.Piecewise((0, X < 1), (X, True)), '(D.less(v["x"],[1,0])?[0,0]:(true?v["x"]:[NaN,0]))'),
        (sympy.pi, "[3.1415926535897931,1.2246467991473532e-16]"),
        (sympy.And(X >= 1, sympy.Eq(sympy.floor(X), X)), None),
    ],
)
def test_javascript_of(expression: sympy.Basic, expected: str | None) -> None:
    made = javascript(expression)
    if expected is None:
        assert set(made[1:-1].split("&&")) == {'D.atMost([1,0],v["x"])', 'D.equal(D.floor(v["x"]),v["x"])'}
    else:
        assert made == expected


def test_formulas_are_well_formed_and_say_their_latex() -> None:
    for bound in bounds.all():
        root = ElementTree.fromstring(formula(bound.expression, alt=bound.latex(), block=True))
        assert root.tag == "math"
        assert root.get("alttext") == bound.latex()
        for fraction in root.iter("mfrac"):
            assert len(fraction) == 2
        for power in (*root.iter("msup"), *root.iter("msub")):
            assert len(power) == 2
        letters = {symbol.name for symbol in bound.expression.free_symbols if len(symbol.name) == 1}
        assert letters <= set("".join(root.itertext())), bound.key


@pytest.mark.parametrize(
    ("plain", "shown"),
    [
        ("within eps.", "within ε."),
        ("pensia2020optimal.theorem1_width", "pensia2020optimal.theorem1_width"),
        ("(1/2)(1/(2 eps))^(d^2)", "(1/2)(1/(2 ε))<sup>d<sup>2</sup></sup>"),
        ("sum_{i<=k} C(m, i)", "sum<sub>i≤k</sub> C(m, i)"),
        ("delta_1 < delta; max_target, weight_eps", "δ<sub>1</sub> &lt; δ; max_target, ε<sub>w</sub>"),
        ("log2(x) - 1", "log<sub>2</sub>(x) − 1"),
    ],
)
def test_prose(plain: str, shown: str) -> None:
    assert prose(plain) == shown


def test_every_paper_is_cited() -> None:
    known = citations()
    for theorem in theory.all():
        assert theorem.paper in known
        assert "{" not in cite(known[theorem.paper], theorem.paper)


def test_controls_begin_where_bounds_have_values() -> None:
    """But where bounds that share a control have hypotheses that exclude each other."""
    apart = {"belkin2020two.risk_above"}
    for bound in bounds.all():
        starts = {name: control(bound, name) for name in bound.symbols}
        values = {name: int(c.start) if c.whole else c.start for name, c in starts.items()}
        for one in starts.values():
            assert one.low <= one.start <= one.high, (bound.key, one)
            assert one.scale == "linear" or one.low > 0 or one.whole, (bound.key, one)
        assert (bound.key in apart) == bool(bound.failed_hypotheses(**values)), (bound.key, values)
        if bound.key not in apart:
            assert math.isfinite(bound(**values))


def test_views_show_bounds_and_axes_that_exist() -> None:
    for _, axis, keys in VIEWS:
        ids = {control(bounds.get(key), name).id for key in keys for name in bounds.get(key).symbols}
        roles = {control(bounds.get(key), name).role for key in keys for name in bounds.get(key).symbols}
        assert axis in ids | roles


def test_rows_are_merged_over_seeds() -> None:
    rows = [
        {"seed": seed, "method": method, "bits": bits, "why": "a"}
        for method, values in (("x", (1.0, 5.0, 3.0)), ("y", (2.0, 2.0, None)))
        for seed, bits in enumerate(values)
    ]
    first, second = _merged(rows, ("method",))
    assert (first["method"], first["seeds"], first["why"]) == ("x", 3, "a")
    assert (first["bits"].shown, first["bits"].key) == ("3 (1 to 5)", 3.0)
    assert second["bits"].shown == "2"
    assert _merged(rows, ()) == rows


def test_columns_that_say_one_thing_go_into_the_caption() -> None:
    rows, said = _common([{"data": "digits", "seeds": 3, "bits": 1.0, "m": m} for m in "xy"])
    assert (rows, said) == ([{"bits": 1.0, "m": "x"}, {"bits": 1.0, "m": "y"}], "; data: digits; seeds: 3")
    assert _common(rows[:1]) == (rows[:1], "")


def test_tables_sort_by_the_numbers_that_cells_begin_with() -> None:
    made = Page(table([{"n": "97.62 (97.4-97.8)", "m": "imp"}, {"n": "-3,300 of", "m": None}], "t"))
    assert made.all("data-key") == ["97.62", "-3300"]
    assert made.all("aria-sort") == ["none", "none"]
    assert [tag for tag, found in made.elements if found.get("tabindex") == "0"] == ["div"]


def test_cifar_is_said_to_be_jpeg_copies(tmp_path: Path) -> None:
    experiment = find("search_methods")
    runs = experiment.preset("cifar10")[:1]
    record = Record(runs[0].spec, {"rows": []}, {"python": "3", "revision": "abc+"}, 1.5)
    study = Study(experiment, "cifar10", [(runs[0], record.result)], (record,), "command", 1)
    assert study.notes() == ("CIFAR-10 images decoded from JPEG copies, not the published pixels",)
    assert "JPEG" in study.source()
    assert study.environments() == [("abc+", f"strongticket {record.version}, python 3", 1)]


def test_an_experiment_that_is_not_there_is_missing(tmp_path: Path) -> None:
    found = read(Store(tmp_path), "nosuch_experiment", "quick")
    assert isinstance(found, Missing)
    assert "no experiment" in found.notice()
    assert Spec("a", 1, {}).key not in found.notice()


def test_entries_of_matrices_nested_exponents_and_roots_are_drawn() -> None:
    assert prose("w_q^2 / (2 [H^-1]_qq)") == "w<sub>q</sub><sup>2</sup> / (2 [H<sup>−1</sup>]<sub>qq</sub>)"
    assert prose("w - H^-1_:P x") == "w − H<sup>−1</sup><sub>:P</sub> x"
    assert prose("phi^-(i+1), 2^(n (k+1))") == "φ<sup>−(i+1)</sup>, 2<sup>n (k+1)</sup>"
    assert prose("sum_k a_k <= sqrt(n)") == "sum<sub>k</sub> a<sub>k</sub> ≤ √(n)"
    assert prose("pensia2020optimal.theorem1_width, max_target") == "pensia2020optimal.theorem1_width, max_target"


def test_what_is_said_of_some_data_names_them_and_older_results_of_the_digits_have_their_note() -> None:
    experiment = find("search_methods")
    digits, mnist = experiment.preset("quick")[0], experiment.preset("mnist")[0]
    runs = [(digits, {}), (mnist, {"note": "other files"}), (mnist, {"note": "other files"})]
    both = Study(experiment, "quick", runs, (), "command", 3).notes()
    assert len(both) == 2
    assert both[0].startswith("digits: the 1,797 digits")
    assert both[1] == "mnist: other files"
    assert Study(experiment, "mnist", runs[1:], (), "command", 2).notes() == ("other files",)


def test_references_read_as_prose() -> None:
    for key, entry in citations().items():
        for name, value in entry.items():
            assert name in ("url", "doi") or not re.search(r"[\\\\{}$]", value), (key, name, value)
    assert "ε-perturbation" in citations()["xiong2022perturbation"]["title"]
