from __future__ import annotations

import pytest
from report_tables import document
from wide_tables import long_document, wide_document

from sweeper.report import render_html
from sweeper.report.figures import build_figures
from sweeper.report.search_section import MAX_PARALLEL_LINES


@pytest.mark.slow
def test_importances_are_given_for_studies_with_many_axes_only() -> None:
    assert document()["search"] is None and not {"importances", "parallel"} & set(build_figures(document()))
    found = wide_document()["search"]
    assert found["n_trials"] == 31 and len(found["lines"]) == 31, "the failed one has no value"
    assert next(iter(found["importances"])) == "learning_rate", "where the divergences are"
    assert sum(found["importances"].values()) == pytest.approx(1)
    assert len(long_document()["search"]["lines"]) == MAX_PARALLEL_LINES
    drawn = build_figures(wide_document())
    assert list(drawn["importances"].data[0].x) == sorted(found["importances"].values())
    assert sum(trace.mode == "lines" for trace in drawn["parallel"].data) == 31
    assert 'id="search"' in render_html(wide_document())
