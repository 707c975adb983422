"""The report in a real browser: headless Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from report_tables import document

from sweeper.report import render_html

pytestmark = pytest.mark.slow
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const find = (name) => [...document.querySelectorAll("th button")].find((b) => b.textContent === name);
  const rates = () => [...document.querySelectorAll("#trials tbody tr")].map((row) => row.cells[6].textContent.trim());
  const note = (key, value) => { document.documentElement.dataset[key] = value; };
  find("pass rate").click(); note("up", rates().join());
  find("pass rate").click(); note("down", rates().join());
  note("fits", document.documentElement.scrollWidth <= innerWidth);
}, 500));
</script></body>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        message = "no chromium on PATH: the report was not opened in a browser (apt-get install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def open_page(chromium: str, page: Path, width: int) -> tuple[str, str]:
    """DOM after scripts ran, and the browser's log with console messages."""
    switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    switches += ["--disable-component-update", "--disable-sync", f"--user-data-dir={page.parent / 'profile'}"]
    switches += ["--enable-logging=stderr", "--virtual-time-budget=10000", f"--window-size={width},900", "--dump-dom"]
    done = subprocess.run(
        [chromium, *switches, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("width", [1200, 500])
def test_plots_are_drawn_the_table_sorts_and_nothing_complains(chromium: str, tmp_path: Path, width: int) -> None:
    page = tmp_path / "report.html"
    report = document()
    html = render_html(report)
    page.write_text(html[: html.rindex("</body>")] + PROBE + "</html>")
    dom, log = open_page(chromium, page, width)
    assert 'data-ready="true"' in dom
    body = dom[: dom.index('<script type="application/json"')]
    assert len(re.findall(r'class="plot js-plotly-plot"', body)) == 5
    assert body.count('class="main-svg"') >= 5 and body.count('class="trace scatter') >= 20
    assert "CONSOLE" not in log, "console messages, among them requests that the page's own policy refused"
    rates = sorted(trial["metrics"]["pass_rate"] for trial in report["trials"])
    assert _noted(dom, "up") == ",".join(f"{100 * rate:.1f} %" for rate in rates)
    assert _noted(dom, "down") == ",".join(f"{100 * rate:.1f} %" for rate in reversed(rates))
    assert _noted(dom, "fits") == "true", "the page scrolls sideways"


def _noted(dom: str, key: str) -> str:
    found = re.search(rf'data-{key}="([^"]*)"', dom)
    assert found is not None
    return found.group(1)
