"""The report in a real browser: headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser, find_chromium
from report_tables import document
from wide_tables import long_document, wide_document

from sweeper.report import render_html
from sweeper.report.figures import build_figures

pytestmark = pytest.mark.slow
REPORTS: dict[str, Any] = {"quickstart": document, "wide": wide_document, "long": long_document}
ROWS = "[...document.querySelectorAll('#trials tbody tr')]"
COLUMN = "[...document.querySelectorAll('#trials thead th')].findIndex((head) => head.textContent === {name!r})"
TAB, ENTER = 9, 13


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


@pytest.fixture(scope="module")
def page(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(chromium, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("reports")
    paths = {name: folder / f"{name}.html" for name in REPORTS}
    for name, path in paths.items():
        path.write_text(render_html(REPORTS[name]()))
    return paths


@pytest.mark.parametrize("name", list(REPORTS))
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (1200, True), (360, False)])
def test_page_draws_plots_without_errors_or_requests(
    page: Browser, files: dict[str, Path], tmp_path: Path, name: str, width: int, dark: bool
) -> None:
    page.open(files[name], width, dark=dark)
    drawn = build_figures(REPORTS[name]())
    assert page.ask("document.querySelectorAll('.plot.js-plotly-plot').length") == len(drawn)
    empty = "[...document.querySelectorAll('.plot')].filter((p) => !p.querySelector('.trace, .hm, .plot image'))"
    assert page.ask(f"{empty}.map((p) => p.id)") == []
    assert page.ask("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    over = "[...document.querySelectorAll('.main-svg')].filter((s) => s.getBoundingClientRect().right > innerWidth + 1)"
    assert page.ask(f"{over}.length") == 0, "a plot is cut off"
    ground = page.ask("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(c) for c in ground[4:-1].split(",")) < 200) == dark
    page.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert page.complaints() == []
    assert page.requests() == []


def column(page: Browser, name: str) -> list[str]:
    place = page.ask(COLUMN.format(name=name))
    assert place >= 0
    found: list[str] = page.ask(f"{ROWS}.map((row) => row.cells[{place}].textContent.trim())")
    return found


def press_head(page: Browser, name: str) -> None:
    """Sort with the keyboard alone."""
    page.ask(
        f"document.querySelectorAll('#trials thead th')[{COLUMN.format(name=name)}].querySelector('button').focus()"
    )
    page.press("Enter", ENTER, "\r")


def rates(report: dict[str, Any]) -> list[str]:
    known = [trial["metrics"].get("pass_rate") for trial in report["trials"]]
    missing = ["–" for rate in known if rate is None]
    return [f"{100 * rate:.1f} %" for rate in sorted(rate for rate in known if rate is not None)] + missing


def test_trial_table_sorts_by_keyboard(page: Browser, files: dict[str, Path]) -> None:
    page.open(files["wide"], 1200)
    expected = rates(wide_document())
    missing = expected.count("–")
    press_head(page, "pass rate")
    assert column(page, "pass rate") == expected
    press_head(page, "pass rate")
    assert column(page, "pass rate") == expected[: -missing or None][::-1] + expected[len(expected) - missing :]
    assert page.ask("document.querySelector('#trials th[aria-sort]').getAttribute('aria-sort')") == "descending"
    press_head(page, "model")
    assert column(page, "model") == sorted(column(page, "model"))


def test_trial_table_filters_by_text_and_status(page: Browser, files: dict[str, Path]) -> None:
    page.open(files["wide"], 1200)
    report = wide_document()
    tools = "document.querySelector('.tools[data-for=trials]')"
    page.ask(f"{tools}.querySelector('input').focus()")
    page.type("opt-350m 0.01")
    wanted = [t for t in report["trials"] if t["model"] == "opt-350m" and t["learning_rate"] == 0.01]
    assert column(page, "trial") == [t["fingerprint"][:8] for t in wanted]
    said = page.ask(f"{tools}.querySelector('output').textContent")
    assert said == f"{len(wanted)} matches in {len(report['trials'])} rows"
    page.press("Tab", TAB)
    assert page.ask("document.activeElement.tagName") == "SELECT", "the menu comes after the box"
    page.ask(
        f"(() => {{ const m = {tools}.querySelector('select'); m.value = 'DIVERGED';"
        " m.dispatchEvent(new Event('change')); })()"
    )
    assert set(column(page, "status")) == {"DIVERGED"}
    assert column(page, "trial") == [t["fingerprint"][:8] for t in wanted if t["status"] == "DIVERGED"]
    page.ask(
        f"(() => {{ const m = {tools}.querySelector('input'); m.value = 'no such thing';"
        " m.dispatchEvent(new Event('input')); })()"
    )
    assert column(page, "trial") == []


def test_long_table_is_paged_sorted_and_filtered_as_a_whole(page: Browser, files: dict[str, Path]) -> None:
    page.open(files["long"], 1200)
    report = long_document()
    planned = len(report["trials"])
    tools = "document.querySelector('.tools[data-for=trials]')"
    said = f"{tools}.querySelector('output').textContent"
    assert page.ask(said) == f"1 to 50 of {planned} rows"
    page.ask(f"{tools}.querySelectorAll('button')[1].focus()")
    page.press("Enter", ENTER, "\r")
    assert page.ask(said) == f"51 to 100 of {planned} rows"
    assert column(page, "trial") == [t["fingerprint"][:8] for t in report["trials"][50:100]]
    press_head(page, "pass rate")
    assert column(page, "pass rate") == rates(report)[:50]
    page.ask(f"{tools}.querySelector('input').focus()")
    page.type("failed")
    assert set(column(page, "status")) == {"FAILED"}
    failure = page.ask(f"{ROWS}[0].querySelector('a').getAttribute('href')")
    page.ask(f"{ROWS}[0].querySelector('a').click()")
    page.wait(f"document.querySelector('{failure}').open")
    assert page.complaints() == []


def test_scrolling_and_sorting_elements_are_reachable_by_keyboard(page: Browser, files: dict[str, Path]) -> None:
    page.open(files["wide"], 360)
    wide = "[...document.querySelectorAll('.scroll')].filter((place) => place.scrollWidth > place.clientWidth)"
    assert page.ask(f"{wide}.length") > 0
    assert page.ask(f"{wide}.every((place) => place.tabIndex === 0)")
    assert page.ask("[...document.querySelectorAll('th button, input, select')].every((place) => place.tabIndex === 0)")
    page.press("Tab", TAB)
    assert page.ask("document.activeElement.className") == "skip"


def test_page_prints(page: Browser, files: dict[str, Path], tmp_path: Path) -> None:
    page.open(files["wide"], 1200, dark=True)
    page.pdf(tmp_path / "report.pdf")
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and len(printed) > 50_000
    assert page.ask("!('print' in document.documentElement.dataset)"), "the page stays as printed"
    page.call("Emulation.setEmulatedMedia", media="print")
    try:
        page.ask("dispatchEvent(new Event('beforeprint'))")
        assert page.ask("getComputedStyle(document.body).backgroundColor") == "rgb(253, 253, 252)"
        hidden = "[...document.querySelectorAll('.tools label')].every((place) => place.offsetParent === null)"
        assert page.ask(hidden), "filters are printed"
        assert page.ask(
            "[...document.querySelectorAll('.scroll')].every((p) => getComputedStyle(p).overflowX !== 'auto')"
        )
        assert page.ask("[...document.querySelectorAll('.plot')].every((p) => p.querySelector('.main-svg'))")
        page.ask("dispatchEvent(new Event('afterprint'))")
    finally:
        page.call("Emulation.setEmulatedMedia", media="")
    assert page.complaints() == []


def test_page_is_readable_without_scripts(page: Browser, files: dict[str, Path]) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.load(files["wide"])
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.ask(f"{ROWS}.length") == len(wide_document()["trials"])
    assert page.ask("document.documentElement.dataset.ready") is None
