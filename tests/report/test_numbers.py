"""No number in a sentence of the page that is not in the document."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from report_tables import document
from wide_tables import long_document, wide_document

from sweeper.report import render_html
from sweeper.report.curves import BAND_QUANTILES
from sweeper.report.formatting import format_duration, format_short_count

PROSE = {"p", "h1", "h2", "h3", "h4", "li", "figcaption", "summary"}
TOLD = ("study", "claims", "leakage", "data", "confounds", "hardware", "references")
"""Parts that sentences are about. The others are tables and plots, with so many numbers that any would be found."""
NUMBER = re.compile(r"(?<![\w.])[+−-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")


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


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def words_of(report: dict[str, Any]) -> list[str]:
    """What others wrote, or what names something: digits there are no numbers of ours."""
    study = report["study"]
    found = [study["question"], study["name"], study["caveat"]]
    found += [text for claim in report["claims"] for text in (claim["id"], claim["text"])]
    found += [name for claim in report["claims"] for part in claim["components"] for name in part["names"]]
    found += [str(arm["model"]) for arm in report["arms"]] + [confound["model"] for confound in report["confounds"]]
    found += [str(trial["fingerprint"])[:8] for trial in report["trials"]]
    found += [text for trial in report["trials"] if trial["failure"] for text in trial["failure"].values()]
    found += [report["search"]["method"]] if report["search"] else []
    return sorted({text for text in found if text}, key=len, reverse=True)


def renderings(value: float) -> set[str]:
    """A number in each way in which the page rounds it."""
    found = {f"{value:,.0f}", f"{value:g}", f"{value:.1f}", f"{value:.2f}", f"{value:.3f}", f"{value:.2g}"}
    found |= {
        f"{100 * value:g}",
        f"{100 * value:.1f}",
        format_short_count(value).split()[0],
        format_duration(value).split()[0],
    }
    if 0 <= value < 1:
        # A level is shown as its interval's.
        found |= {f"{100 * (1 - value):g}"}
    return found


def unsigned(text: str) -> str:
    return text.lstrip("+−-").replace(",", "")


def strange_numbers(report: dict[str, Any]) -> list[str]:
    ours = {key: report[key] for key in TOLD}
    numbers = {v for v in leaves(ours) if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)}
    # How many there are of what the document lists is in it too.
    numbers |= {len(report["arms"]), len(report["fits"]), *(len(claim["components"]) for claim in report["claims"])}
    numbers |= set(BAND_QUANTILES)
    if report["search"]:
        numbers |= {report["search"]["n_trials"], len(report["search"]["lines"])}
    known = {unsigned(text) for number in numbers for text in renderings(number)}
    names, found = words_of(report), []
    for sentence in Sentences(render_html(report)).found:
        text = " ".join(sentence.split())
        for name in names:
            text = text.replace(" ".join(name.split()), " ")
        found += [f"{number} in: {text}" for number in NUMBER.findall(text) if unsigned(number) not in known]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("make", [document, wide_document, long_document])
def test_every_number_in_a_sentence_is_in_the_document(make: Any) -> None:
    assert strange_numbers(make()) == []


def test_the_search_finds_an_invented_number() -> None:
    report = document()
    claim = report["claims"][0] | {"sentence": report["claims"][0]["sentence"].replace("n = 720", "n = 7,431")}
    found = strange_numbers(report | {"claims": [claim, *report["claims"][1:]]})
    assert found and all(line.startswith("7,431") for line in found)


def test_numbers_of_the_claims_tables_are_the_documents(make: Any = wide_document) -> None:
    report = make()
    page = render_html(report)
    for claim in report["claims"]:
        detail = page.split(f'id="claim-{claim["id"]}"')[1].split("</article>")[0]
        for part in claim["components"]:
            assert part["shown"]["estimate"] in detail
            assert " to ".join(part["shown"]["interval"]) in detail
