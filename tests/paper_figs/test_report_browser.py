"""The report in a real headless Chromium: it loads, computes what Python does, and can be read and used by everyone."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sympy

from experiments.comparison import Comparison
from experiments.looseness import Looseness
from paper_figs.report import _figures, _page, build
from paper_figs.report._explorer import VIEWS
from paper_figs.report._symbols import Control, control
from strongticket import bounds
from strongticket.bounds import Bound
from strongticket.runs import Store, execute

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
pytestmark = [
    pytest.mark.xdist_group("the report"),
    pytest.mark.skipif(CHROMIUM is None, reason="the browser tests need chromium"),
]

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage")
STILL = (
    "document.documentElement.style.scrollBehavior = 'auto'"  # the script's styles are its own; no policy forbids it
)
CONTRAST = """() => {
  const parse = (text) => { const m = text.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const part = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = (c) => 0.2126 * part(c[0]) + 0.7152 * part(c[1]) + 0.0722 * part(c[2]);
  const behind = (at) => {
    for (let e = at; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c[3] === 1) return c;
      if (c[3] > 0) return null;
    }
    return [255, 255, 255, 1];
  };
  const found = {};
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length || e.closest("script, template, .unseen")) continue;
    const svg = e.namespaceURI.endsWith("svg");
    const c = parse(svg ? getComputedStyle(e).fill : getComputedStyle(e).color);
    const b = behind(e);
    const [x, y] = [light(c), light(b)].sort((p, q) => q - p);
    found[`${e.tagName}.${e.getAttribute("class")} ${c} on ${b}`] = (x + 0.05) / (y + 0.05);
  }
  return found;
}"""
CHECKS = """() => {
  const wrong = [];
  const named = (e) => {
    const ids = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean);
    const by = ids.map((id) => document.getElementById(id));
    const texts = [e.getAttribute("aria-label"), ...by.map((x) => x && x.textContent),
      ...[...(e.labels || [])].map((x) => x.textContent)];
    if (["BUTTON", "A", "SUMMARY"].includes(e.tagName)) texts.push(e.textContent);
    return texts.some((t) => t && t.trim());
  };
  for (const e of document.querySelectorAll("a, button, input, select, summary, [tabindex='0'], [role=region], nav")) {
    if (!named(e)) wrong.push(`no name: ${e.outerHTML.slice(0, 120)}`);
    if (e.tabIndex > 0) wrong.push(`tabindex: ${e.outerHTML.slice(0, 80)}`);
  }
  for (const e of document.querySelectorAll("img")) if (!e.alt) wrong.push("img without alt");
  for (const e of document.querySelectorAll("svg:not([aria-hidden])")) {
    if (!e.querySelector("title")) wrong.push("svg without title");
  }
  for (const e of document.querySelectorAll("details")) {
    if (e.firstElementChild.tagName !== "SUMMARY") wrong.push("details without summary");
  }
  for (const e of document.querySelectorAll("table")) {
    if (!e.caption) wrong.push("table without caption");
    for (const th of e.querySelectorAll("th")) if (!th.scope) wrong.push("th without scope");
  }
  for (const tag of ["main", "nav", "h1", "footer"]) if (document.querySelectorAll(tag).length !== 1) wrong.push(tag);
  if (!document.documentElement.lang || !document.title) wrong.push("lang or title");
  return wrong;
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A page of a small study, with one figure."""
    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patch:
        quick: list[tuple[Any, list[Any]]] = [
            (Looseness, [Looseness("lueker1998exponentially.explicit", 30, 20, (1.0, 64.0))]),
            (Comparison, [Comparison("3-2-2", 0.3, runs=1, papers=("pensia2020optimal", "orseau2020logarithmic"))]),
        ]
        store = Store(folder / "results")
        for experiment, runs in quick:
            presets: Mapping[str, Sequence[Any]] = {"quick": runs}
            patch.setattr(experiment, "presets", classmethod(lambda cls, presets=presets: presets))
            assert execute([run.spec for run in runs], experiment.function(), store).complete
        for module, name in ((_figures, "names"), (_page, "figure_names")):
            patch.setattr(module, name, lambda: ["fig13_comparison"])
        yield build(store, folder / "page.html", check_steps=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        made = started.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield made
        made.close()


@pytest.fixture(scope="module")
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    shown = context.new_page()
    said: list[str] = []
    shown.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    shown.on("pageerror", lambda error: said.append(f"error: {error}"))
    shown.on("request", lambda request: said.append(request.url))
    shown.goto(page_file.as_uri())
    shown.wait_for_selector("#curves")
    shown.evaluate(STILL)
    shown.said = said
    yield shown
    context.close()


def _draw(one: Control, rng: random.Random) -> float:
    if one.scale == "log" and one.low > 0:
        x = math.exp(rng.uniform(math.log(one.low), math.log(one.high)))
    else:
        x = rng.uniform(one.low, one.high)
    return round(x) if one.whole else x


def _exact(bound: Bound, values: Mapping[str, float]) -> float:
    """The bound by Python; sums are written out, whose numerical summation by sympy is wrong where terms cancel."""
    value = bound(**values)
    if not bound.expression.has(sympy.Sum):
        return value
    numbers = {
        sympy.Symbol(name, real=True): sympy.Integer(x) if isinstance(x, int) else sympy.Rational(x)
        for name, x in values.items()
    }
    return float(sympy.N(bound.expression.xreplace(numbers).doit(), 30))


def _cases() -> list[tuple[str, dict[str, float], float | list[str]]]:
    """Random points of every bound: its value there, or the hypotheses that fail."""
    rng, cases = random.Random(8), []
    for bound in bounds.all():
        names = (*bound.symbols, *bound.conditions)
        good = 0
        for _ in range(800):
            values = {name: _draw(control(bound, name), rng) for name in names}
            try:
                cases.append((bound.key, values, _exact(bound, values)))
                good += 1
            except bounds.HypothesisError as error:
                if sum(key == bound.key for key, _, _ in cases[-3:]) < 3:
                    cases.append((bound.key, values, [hypothesis.name for hypothesis in error.failed]))
            except ValueError:  # no finite value
                continue
            if good == 3:
                break
        assert good == 3, bound.key
    return cases


def test_it_loads_without_an_error_or_a_request(page: Any, page_file: Path) -> None:
    foreign = [line for line in page.said if not line.startswith(("data:", page_file.as_uri()))]
    assert foreign == []
    assert page.title() == "Strong lottery tickets: theorems, measured"


def test_every_bound_computes_what_python_does(page: Any) -> None:
    cases = _cases()
    assert sum(isinstance(expected, list) for _, _, expected in cases) > 30
    found = page.evaluate(
        """cases => cases.map(([key, values]) => {
          const v = Object.fromEntries(Object.entries(values).map(([name, x]) => [name, D.of(x)]));
          return [BOUNDS[key].checks.map((check) => check(v)), D.num(BOUNDS[key].value(v))];
        })""",
        [[key, values] for key, values, _ in cases],
    )
    for (key, values, expected), (checks, number) in zip(cases, found, strict=True):
        failed = [h.name for h, holds in zip(bounds.get(key).hypotheses, checks, strict=True) if not holds]
        if isinstance(expected, list):
            assert failed == expected, (key, values)
        else:
            assert failed == [], (key, values)
            assert number == pytest.approx(expected, rel=1e-12, abs=1e-300), (key, values)


def _shown(page: Any, key: str) -> float | str:
    output = page.locator(f"output[data-bound='{key}']")
    number = output.get_attribute("data-number")
    return float(number) if number else str(output.text_content())


def test_the_explorer_moves_and_says_what_fails(page: Any) -> None:
    page.click("[data-view='0']")
    theorem = bounds.get("pensia2020optimal.theorem1_width")
    values: dict[str, float] = {"C": 1.0, "L": 2, "d_in": 100, "d_out": 100, "delta": 0.01, "eps": 0.01}
    assert _shown(page, theorem.key) == pytest.approx(theorem(**values), rel=1e-12)
    before = page.locator("path.curve").first.get_attribute("d")
    page.fill("#value-eps", "0.003")
    page.fill("#value-L", "7")
    page.fill("#value-width", "31")
    values |= {"eps": 0.003, "L": 7, "d_in": 31, "d_out": 31}
    assert _shown(page, theorem.key) == pytest.approx(theorem(**values), rel=1e-12)
    malach = bounds.get("malach2020proving.theorem2_1_width")
    assert _shown(page, malach.key) == malach(eps=0.003, delta=0.01, L=7, s=31, w=31)
    assert page.locator("path.curve").first.get_attribute("d") != before
    page.fill("#value-eps", "1.5")
    assert _shown(page, theorem.key) == "hypothesis fails: 0 < eps < 1"
    page.fill("#value-eps", "")
    assert _shown(page, theorem.key) == "give eps"
    assert page.get_attribute("#value-eps", "aria-invalid") == "true"
    page.fill("#value-eps", "0.1")
    page.fill("#value-norm", "1.25")  # a condition only
    assert _shown(page, theorem.key) == "hypothesis fails: norm <= 1"
    page.locator("#spoken", has_text="hypothesis fails: norm <= 1").wait_for(state="attached")
    page.fill("#value-norm", "")
    page.uncheck("#tied")
    page.fill("#value-d_in".replace("_", "-"), "5")
    values |= {"eps": 0.1, "d_in": 5, "d_out": 100}
    assert _shown(page, theorem.key) == pytest.approx(theorem(**values), rel=1e-12)
    page.check("#tied")


def test_sliders_move_by_keyboard(page: Any) -> None:
    page.click("[data-view='3']")
    bound = bounds.get("lueker1998exponentially.counting_floor")
    slider = page.locator("[data-control='eps'] input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    assert float(page.input_value("#value-eps")) == 1e-6
    assert _shown(page, bound.key) == pytest.approx(bound(eps=1e-6, c=0.25), rel=1e-12)
    page.keyboard.press("ArrowRight")
    moved = float(page.input_value("#value-eps"))
    assert moved > 1e-6
    assert _shown(page, bound.key) == pytest.approx(bound(eps=moved, c=0.25), rel=1e-12)
    assert slider.get_attribute("aria-valuetext") not in (None, "")


def test_views_and_theorems_open_in_the_explorer(page: Any) -> None:
    for i, (_, axis, keys) in enumerate(VIEWS):
        page.click(f"[data-view='{i}']")
        assert [_shown(page, key) != "" for key in keys] == [True] * len(keys)
        assert page.input_value("#axis") == axis
        assert page.locator("path.curve[d^='M']").count() == len(keys)
    page.locator("a[data-explore^='natale2024sparsity.theorem5']").first.click()
    assert page.locator("#values output").count() == 1
    page.click("#chooser summary")
    page.fill("#find", "hassibi")
    assert page.locator("#chooser input[type=checkbox]:visible").count() == 1
    page.locator("#chooser input[type=checkbox]:visible").check()
    assert _shown(page, "hassibi1992second.saliency") == bounds.get("hassibi1992second.saliency")(v=0.3333, w=0.5)
    page.click("#clear")
    assert page.locator("#values output").count() == 0
    page.fill("#find", "")
    page.click("[data-view='0']")


def test_tables_are_sorted_by_keyboard(page: Any) -> None:
    table = page.locator("section:has(> #table-comparison) table")
    head = table.locator("thead th", has_text="source weights that suffice")
    column = head.evaluate("e => e.cellIndex")
    cells = "(t, i) => [...t.tBodies[0].rows].map((r) => r.cells[i].dataset.key).filter((k) => k).map(Number)"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    up = table.evaluate(f"t => ({cells})(t, {column})")
    assert len(up) >= 2
    assert up == sorted(up)
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "descending"
    assert table.evaluate(f"t => ({cells})(t, {column})") == up[::-1]
    assert table.locator("th[aria-sort=descending]").count() == 1


def test_controls_have_names_and_are_reached_in_order(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate(CHECKS) == []
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = d.matches('.contents'); })")
    page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges(); window.scrollTo(0, 0)")
    page.locator("body").evaluate("e => { e.tabIndex = -1; e.focus(); e.removeAttribute('tabindex'); }")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    wanted = page.evaluate(
        """() => [...document.querySelectorAll('#explorer-body :is(button, input, select, summary, [tabindex="0"])')]
          .filter((e) => e.checkVisibility() && !e.closest('details:not([open]) > :not(summary)'))
          .map((e, i) => { e.dataset.stop = i; return i; })"""
    )
    page.locator("[data-stop='0']").focus()
    reached = []
    for _ in range(len(wanted)):
        reached.append(int(page.evaluate("document.activeElement.dataset.stop ?? -1")))
        page.keyboard.press("Tab")
    assert reached == wanted


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    found = page.evaluate(CONTRAST)
    assert len(found) > 25
    assert {what: round(ratio, 2) for what, ratio in found.items() if ratio < 4.5} == {}
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = d.matches('.contents'); })")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(21, 24, 28)") == (scheme == "dark")


def test_a_phone_needs_no_sideways_scrolling(page: Any) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.locator("#curves[width='328']").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    wide = "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{wide}.length") > 0
    assert page.evaluate(f"{wide}.filter((e) => e.tabIndex !== 0).length") == 0
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = d.matches('.contents'); })")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_it_prints(page: Any) -> None:
    page.emulate_media(color_scheme="dark")
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") > 20
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("#chooser, #controls, nav").first.is_visible()
    spelled = page.evaluate("getComputedStyle(document.querySelector(\"a[href^='https']\"), '::after').content")
    assert spelled.startswith('" (" ') or "https://" in spelled
    page.emulate_media(media="screen", color_scheme="light")


def test_nothing_went_wrong_on_the_way(page: Any) -> None:
    assert [line for line in page.said if line.startswith(("error", "warning"))] == []
