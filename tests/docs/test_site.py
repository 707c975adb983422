"""The documentation site: it builds without a warning, documents every public name, and reads without a network."""

from __future__ import annotations

import html as html_escapes
import importlib
import inspect
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer.main
from browser import Browser, browser, find_chromium
from doc_examples import ROOT

import sweeper
from sweeper.cli.app import app
from sweeper.config.base import FrozenConfig

pytestmark = pytest.mark.slow
PACKAGES = ("sweeper", "sweeper.api", "sweeper.statistics", "sweeper.models", "sweeper.toolworld", "sweeper.evaluation")
PACKAGES = (*PACKAGES, "sweeper.data", "sweeper.errors", "sweeper.registry")
INTERNAL_CONFIG = {"Branch", "TrialSpec"}
"""Configuration that no file has: it is made from a sweep."""
LOADING_TAGS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
SCRIPT_LOADS = re.compile(r"""(?:fetch|import|importScripts|XMLHttpRequest)\(\s*["'`]https?:""")
MERMAID = "https://unpkg.com/mermaid@"
"""The theme's script names this address, and loads it only on a page with a Mermaid diagram."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(find_chromium(), tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def list_pages(site: Path) -> list[Path]:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    return pages


class PageParser(HTMLParser):
    """Addresses that a page loads, its anchors, and the text of each documented object."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        address = given.get(LOADING_TAGS.get(tag, ""))
        if address and given.get("rel") != "canonical":
            self.loaded.append(address)


def read_docstring(html: str, anchor: str) -> str | None:
    """The first paragraph below an object's heading; None without the object."""
    _, found, rest = html.partition(f'id="{anchor}"')
    if not found:
        return None
    own, *_ = re.split(r'class="doc doc-object |class="doc doc-children', rest, maxsplit=1)
    paragraph = re.search(r'class="doc doc-contents[^"]*">.*?<p>(.+?)</p>', own, re.DOTALL)
    return paragraph[1] if paragraph else ""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference_with_its_docstring(site: Path, package: str) -> None:
    module = importlib.import_module(package)
    html = "".join(path.read_text() for path in (site / "reference" / "python").glob("*.html"))
    assert f'id="{package}"' in html
    for name in module.__all__:
        value = getattr(module, name)
        if not isinstance(value, types.ModuleType):
            owner = "sweeper" if getattr(sweeper, name, None) is value else package
            assert read_docstring(html, f"{owner}.{name}"), f"{owner}.{name}"


def test_every_field_of_the_configuration_is_documented(site: Path) -> None:
    from sweeper import config

    anchors = PageParser((site / "reference" / "configuration.html").read_text()).anchors
    for path in sorted((ROOT / "src" / "sweeper" / "config").glob("*.py")):
        module = importlib.import_module(f"{config.__name__}.{path.stem}")
        for name, model in inspect.getmembers(module, inspect.isclass):
            if issubclass(model, FrozenConfig) and model is not FrozenConfig and name not in INTERNAL_CONFIG:
                for field, info in model.model_fields.items():
                    assert info.description, f"{name}.{field}"
                    assert f"{name.lower()}.{field}" in anchors


def test_every_command_and_option_is_documented(site: Path) -> None:
    html = (site / "reference" / "cli.html").read_text()
    anchors, pending = PageParser(html).anchors, [(("sweeper",), typer.main.get_command(app))]
    while pending:
        path, command = pending.pop()
        assert "-".join(path) in anchors
        for parameter in command.params:
            assert parameter.help, f"{path}: {parameter.name}"
            if parameter.param_type_name == "option":
                assert f'<code class="field">{parameter.opts[0]}</code>' in html
        pending += [((*path, name), inner) for name, inner in getattr(command, "commands", {}).items()]


def test_every_decision_is_in_the_navigation(site: Path) -> None:
    html = (site / "index.html").read_text()
    assert "adr/index.html" in html
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    assert records
    for record in records:
        title = record.read_text().splitlines()[0].partition(". ")[2]
        label = html_escapes.escape(title, quote=False)
        assert re.search(rf'href="adr/{record.stem}\.html"[^>]*>\s*<span[^>]*>\s*{re.escape(label)}\s*<', html), record
        topic = re.search(r"^- Topic: (.+)$", record.read_text(), re.MULTILINE)
        assert topic is not None
        assert re.search(rf"<span[^>]*>\s*{topic[1]}\s*</span>", html), record


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    for path in list_pages(site):
        html = path.read_text()
        assert [address for address in PageParser(html).loaded if re.match("(https?:)?//", address)] == [], path
        assert 'class="mermaid"' not in html, path
    for path in site.rglob("*.css"):
        assert not re.search(r"""(@import|url\()\s*["']?(https?:)?//""", path.read_text()), path
    for path in site.rglob("*.js"):
        if path.parent.name != "search":  # the text of the pages
            assert not SCRIPT_LOADS.search(path.read_text().replace(MERMAID, "")), path


@pytest.mark.parametrize("width", [1400, 390])
def test_pages_open_from_disk_without_requests_errors_or_overflow(site: Path, page: Browser, width: int) -> None:
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
    pages = list_pages(site)
    records = [path for path in pages if re.match(r"\d{4}-", path.name)]  # they are alike: every tenth will do
    left_out = {site / "404.html", *records} - {
        *records[::10]
    }  # the former is of a server: addresses begin at the root
    for path in pages:
        if path in left_out:
            continue
        page.load(path)
        where = path.relative_to(site)
        assert [url for url in page.requests() if not url.startswith(site.as_uri())] == [], where
        assert page.complaints() == [], where
        assert page.ask("document.documentElement.scrollWidth") <= width, where


def test_search_works_from_disk(site: Path, page: Browser) -> None:
    page.load(site / "index.html")
    page.ask("document.querySelector('[data-md-toggle=search]').click()")
    query = "document.querySelector('[data-md-component=search-query]')"
    page.ask(f"{query}.focus(), {query}.value = 'minimum detectable effect'")
    result = "document.querySelector('.md-search-result__item a')"
    page.wait(f"({query}.dispatchEvent(new Event('keyup')), {result} !== null)")
    assert page.ask(f"{result}.href").startswith((site / "concepts.html").as_uri())
    assert [url for url in page.requests() if not url.startswith(site.as_uri())] == []
