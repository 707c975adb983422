"""Texts of a report's page, and the numbers in its sentences that the document does not hold."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any

from sweeper.report import render_html
from sweeper.report.curves import BAND_QUANTILES
from sweeper.report.formatting import format_duration, format_short_count

PROSE = {"p", "h1", "h2", "h3", "h4", "li", "figcaption", "summary"}
SENTENCE_PARTS = ("study", "claims", "leakage", "data", "confounds", "hardware", "references", "predictions")
"""Parts that sentences are about. The others are tables and plots, with so many numbers that any would be found."""
NUMBER = re.compile(r"(?<![\w.])[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


def find_section(page: str, start: str, end: str) -> str:
    """Return the text between two marks of a page."""
    return unescape(page.split(start)[1].split(end)[0])


class Sentences(HTMLParser):
    """Texts of the elements that hold sentences."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in ("meta", "input"):
            self.open.append(tag)
        if tag in PROSE:
            self.found.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if PROSE & set(self.open) and not {"script", "style", "noscript"} & set(self.open):
            self.found[-1] += data


def iterate_values(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from iterate_values(item)
    elif isinstance(value, list):
        for item in value:
            yield from iterate_values(item)
    else:
        yield value


def collect_names(report: dict[str, Any]) -> list[str]:
    """Collect names and texts of others: digits in them are not numbers of the report."""
    study = report["study"]
    found = [study["question"], study["name"], study["caveat"]]
    found += [text for claim in report["claims"] for text in (claim["id"], claim["text"])]
    found += [name for claim in report["claims"] for part in claim["components"] for name in part["names"]]
    found += [str(arm["model"]) for arm in report["arms"]] + [confound["model"] for confound in report["confounds"]]
    found += [str(trial["fingerprint"])[:8] for trial in report["trials"]]
    found += [part["group"] for part in report["predictions"]]
    found += [text for trial in report["trials"] if trial["failure"] for text in trial["failure"].values()]
    found += [report["search"]["method"]] if report["search"] else []
    return sorted({text for text in found if text}, key=len, reverse=True)


def render_number(value: float) -> set[str]:
    """Render a number in every way in which the page rounds it."""
    found = {
        f"{value:,.0f}",
        f"{value:g}",
        f"{value:.1f}",
        f"{value:.2f}",
        f"{value:.3f}",
        f"{value:.2g}",
        f"{value:.3g}",
    }
    found |= {
        f"{100 * value:g}",
        f"{100 * value:.1f}",
        format_short_count(value).split()[0],
        format_duration(value).split()[0],
    }
    if 0 <= value < 1:
        # A level is shown as its interval's.
        found |= {f"{100 * (1 - value):g}"}
    if 0 <= value <= 1:
        # A probability is shown without decimals.
        found |= {f"{100 * value:.0f}"}
    return found


def strip_sign(text: str) -> str:
    return text.lstrip("+−-").replace(",", "")


def find_unknown_numbers(report: dict[str, Any]) -> list[str]:
    """Return the numbers in the page's sentences that the document does not hold, with their sentence."""
    ours = {key: report[key] for key in SENTENCE_PARTS}
    ours["predictions"] = [{**entry, "curve": []} for entry in report["predictions"]]  # drawn, and not in sentences
    numbers = {
        v for v in iterate_values(ours) if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
    }
    # The lengths of the document's lists count as its numbers too.
    numbers |= {len(report["arms"]), len(report["fits"]), *(len(claim["components"]) for claim in report["claims"])}
    numbers |= set(BAND_QUANTILES)
    if report["search"]:
        numbers |= {report["search"]["n_trials"], len(report["search"]["lines"])}
    known = {strip_sign(text) for number in numbers for text in render_number(number)}
    names, found = collect_names(report), []
    for sentence in Sentences(render_html(report)).found:
        text = " ".join(sentence.split())
        for name in names:
            text = text.replace(" ".join(name.split()), " ")
        found += [f"{number} in: {text}" for number in NUMBER.findall(text) if strip_sign(number) not in known]
    return found
