from __future__ import annotations

import pytest
from report_pages import find_section
from report_tables import document
from wide_tables import wide_document

from sweeper.report import render_html
from sweeper.report.confounds import find_confounds


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "odd"),
    [
        *((name, True) for name in ("opt-350m", "facebook/opt-350m", "our-OPT-350M", "opt-350m-ft")),
        *((name, False) for name in ("opt-125m", "opt-1.3b", "pythia-410m", "opt-tiny-64", "opt-3500m")),
    ],
)
def test_find_confounds_reports_opt_350m_only(name: str, odd: bool) -> None:
    found = find_confounds(["opt-tiny-32", name, name])
    assert [one["model"] for one in found] == ([name] if odd else [])
    if odd:
        assert "post-layer-norm" in found[0]["text"] and "512" in found[0]["text"]


@pytest.mark.slow
def test_confound_is_named_wherever_its_model_is_compared() -> None:
    page = render_html(wide_document())
    for start, end in (
        ("<header>", "Evidence for each claim"),
        ('id="claim-spot"', "</article>"),
        ('id="claim-reaches"', "</article>"),
        ('id="size-fits"', "</section>"),
        ('id="map"', "</section>"),
        ('id="cost"', "</section>"),
    ):
        assert "post-layer-norm" in find_section(page, start, end), start
    assert "post-layer-norm" not in render_html(document())
