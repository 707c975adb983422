from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
import pytest
from report_pages import find_section, find_unknown_numbers
from report_tables import CLAIMS, INFO, document, tables
from wide_tables import INFO as WIDE_INFO
from wide_tables import long_document, wide_document, wide_tables

from sweeper.config import load_references
from sweeper.report import ReportTables, build_report, render_html
from sweeper.report.figures import build_figures
from sweeper.report.formatting import format_short_count

VOID = {"meta", "br", "hr", "img", "link", "input"}
ATTACK = "Traceback\nValueError: </script><script>alert(1)</script>"


class Page(HTMLParser):
    """Reads a page strictly: every element closed in order; texts and scripts kept."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.attributes += attrs
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def html(report: dict[str, Any]) -> str:
    return render_html(report)


def test_page_parses_and_shows_the_document(report: dict[str, Any], html: str) -> None:
    page = Page(html)
    assert page.open == []
    for claim in report["claims"]:
        assert claim["sentence"] in page.text and claim["text"] in page.text and claim["verdict"] in page.text
    assert report["study"]["question"] in page.text and report["study"]["caveat"] in page.text
    for trial in report["trials"]:
        assert trial["fingerprint"][:8] in page.text
    for arm in report["arms"]:
        assert f"{100 * arm['pass_rate']:.1f}" in page.text


@pytest.mark.slow
def test_page_escapes_untrusted_text(html: str) -> None:
    trials, outcomes, histories = tables()
    trials["failure"] = trials["failure"].astype(object)
    trials.loc[0, ["status", "failure"]] = ["FAILED", ATTACK]
    trials["model"] = trials["model"].replace("opt-tiny-96", "<script>alert(2)</script>")
    outcomes["subset"] = outcomes["subset"].replace("G1_tool", "</script><script>alert(3)</script>")
    info = INFO | {"question": "<img src=x onerror=alert(4)>", "manifest": {"<b>": "</dl>"}}
    attacked = render_html(
        build_report(
            info,
            CLAIMS,
            ReportTables(trials, outcomes[outcomes["fingerprint"] != trials.loc[0, "fingerprint"]], histories),
        )
    )
    page = Page(attacked)
    assert page.open == [] and len(page.scripts) == len(Page(html).scripts)
    assert "alert(1)" in page.text and "<img src=x" in page.text
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "</script><script>alert(3)" in json.dumps(json.loads(page.scripts[0]))


def test_page_loads_nothing_from_elsewhere(html: str) -> None:
    page = Page(html)
    for name, value in page.attributes:
        if name in ("src", "href", "data", "srcset", "action"):
            assert value is not None and value.startswith("#"), (name, value)
    styles = re.findall(r"<style>(.*?)</style>", html, re.S)
    assert len(styles) == 1 and "url(" not in styles[0] and "@import" not in styles[0]
    assert "default-src 'none'" in html


def test_figures_draw_every_seed_and_every_trial(report: dict[str, Any]) -> None:
    made = build_figures(report)
    claims = {"claim-0", "claim-1"}
    assert set(made) == {"size", "epochs_pass_rate", "epochs_val_loss", "subsets", "learning"} | claims
    size = made["size"]
    assert [t.name for t in size.data if t.showlegend is not False] == ["1 epoch", "3 epochs"]
    drawn = sorted(y for t in size.data if t.showlegend is False for y in t.y)
    assert drawn == sorted(trial["metrics"]["pass_rate"] for trial in report["trials"])
    assert size.layout.xaxis.type == "log"
    assert len(made["learning"].data) == 2 * 18 and len(made["subsets"].data) == 6
    assert [list(t.x) for t in made["epochs_val_loss"].data if t.mode == "lines"] == [[1, 3]] * 3


def test_page_of_a_study_that_has_not_run() -> None:
    trials, _, _ = tables()
    empty = trials.assign(status="PENDING", pass_rate=float("nan"), val_loss=float("nan"))
    page = Page(render_html(build_report(INFO | {"manifest": {}}, [], ReportTables(empty, pd.DataFrame(), {}))))
    assert "Partial" in page.text and "no claim" in page.text and "18 PENDING" in page.text


def test_format_short_count_has_three_digits() -> None:
    assert [format_short_count(n) for n in (45_344, 350e6, 1.3e9, 12, None)] == ["45.3 k", "350 M", "1.3 B", "12", "–"]


@pytest.mark.slow
def test_page_separates_published_tables_from_measured_rates(report: dict[str, Any]) -> None:
    trials, outcomes, histories = tables()
    references = [reference.model_dump(mode="json") for reference in load_references()]
    large = build_report(
        INFO | {"miniature": False}, [], ReportTables(trials, outcomes, histories, references=references)
    )
    page = render_html(large)
    ours, _, theirs = page.partition('<section id="references">')
    theirs = theirs.partition("</section>")[0]
    for reference in references:
        assert reference["source"].split(";")[0] in theirs.replace("&#39;", "'")
        for row in reference["rows"]:
            assert row["model"] in theirs
            assert f">{row['model']}<" not in ours
    assert 'id="references"' not in render_html(report), "a miniature shows none"


@pytest.mark.slow
def test_failure_modes_are_shown_by_arm() -> None:
    trials, outcomes, histories = tables()
    judged = outcomes.assign(
        status=np.where(outcomes["passed"] > 0, "solved", "unsure"), task="solvable", answered=True, finished=True
    )
    judged = judged.assign(overgenerated=np.arange(len(judged)) % 4 == 0, incoherent=False, hallucinated=False)
    found = build_report(INFO, CLAIMS, ReportTables(trials, judged, histories))
    for arm in found["arms"]:
        rates = arm["definitions"]
        assert rates["strict"] == pytest.approx(arm["pass_rate"])
        assert rates["stabletoolbench"] == pytest.approx((1 + rates["strict"]) / 2)
        assert arm["signatures"]["overgenerated"] == pytest.approx(0.25)
        assert arm["signatures"]["unfinished"] == 0
        own = {row["subset"]: row["pass_rate"] for row in found["subsets"] if row["arm"] == arm["label"]}
        seen = np.mean([rate for name, rate in own.items() if name.endswith("instruction")])
        unseen = np.mean([rate for name, rate in own.items() if not name.endswith("instruction")])
        assert arm["signatures"]["unseen_tool_drop"] == pytest.approx(seen - unseen)
    assert "extra text after the call" in render_html(found)


@pytest.mark.slow
def test_claim_article_shows_arms_robustness_and_required_sample() -> None:
    report = wide_document()
    page = render_html(report)
    for claim in report["claims"]:
        detail = find_section(page, f'id="claim-{claim["id"]}"', "</article>")
        for row in claim["sensitivity"]:
            assert row["name"] in detail and row["reason"] in detail
        assert claim["needed"]["reason"] in find_section(detail, "What would change the verdict", "Excluded from")
        assert "opt-350m · learning rate 0.001 · clip 0.3" in detail
    reached = find_section(page, 'id="claim-reaches"', "</article>")
    assert "Compared arms: 1<" in reached, "the one arm it is about"


@pytest.mark.slow
def test_claim_article_states_the_seeds_that_would_settle_it() -> None:
    report = json.loads(json.dumps(wide_document()))
    report["claims"][0]["needed"] = {
        "seeds": 7,
        "more_seeds": 5,
        "queries": None,
        "more_queries": None,
        "reason": "So.",
    }
    said = find_section(render_html(report), '<p class="small change">', "</p>")
    assert said == "About 5 more seeds (7 in total) on the same queries would settle this. So."
    report["claims"][0] |= {"needed": None, "verdict": "supported"}
    report["claims"][0]["sensitivity"][2]["verdict"] = "refuted"
    said = find_section(render_html(report), '<p class="small change">', "</p>")
    assert "refuted (definition: tooleval)" in said and "would change if the interval reached that bound" in said


@pytest.mark.slow
def test_equal_failures_are_shown_once() -> None:
    trials, *_ = wide_tables()
    failure = {"kind": "bug", "message": "ValueError: no", "traceback": "x" * 50_000 + "the end"}
    trials["status"] = "FAILED"
    trials["failure"] = [failure] * len(trials)
    page = render_html(build_report(WIDE_INFO, [], ReportTables(trials, pd.DataFrame(), {})))
    assert page.count('<details id="failure-') == 1 and page.count('href="#failure-1"') == len(trials)
    assert "the end" in page and "x" * 30_000 not in page


@pytest.mark.slow
def test_sortable_columns_are_buttons() -> None:
    page: Any = render_html(wide_document())
    heads = re.findall(r'<table class="dense sortable".*?</thead>', page, re.S)
    assert heads and all(head.count("<th ") == head.count('<button type="button">') for head in heads)
    assert "onclick" not in page.split("<script")[0]


@pytest.mark.slow
@pytest.mark.parametrize("make", [document, wide_document, long_document])
def test_every_number_in_a_sentence_is_in_the_document(make: Any) -> None:
    assert find_unknown_numbers(make()) == []


def test_find_unknown_numbers_detects_an_invented_number() -> None:
    report = document()
    claim = report["claims"][0] | {"sentence": report["claims"][0]["sentence"].replace("n = 1,440", "n = 7,431")}
    found = find_unknown_numbers(report | {"claims": [claim, *report["claims"][1:]]})
    assert found and all(line.startswith("7,431") for line in found)


def test_claim_tables_show_the_numbers_of_the_document(make: Any = wide_document) -> None:
    report = make()
    page = render_html(report)
    for claim in report["claims"]:
        detail = page.split(f'id="claim-{claim["id"]}"')[1].split("</article>")[0]
        for part in claim["components"]:
            assert part["shown"]["estimate"] in detail
            assert " to ".join(part["shown"]["interval"]) in detail
