"""The document -> one self-contained HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sweeper.config.axes import get_axis_label
from sweeper.report.claim_document import RESULT_LABELS, ClaimEntry, ComparisonEntry
from sweeper.report.combined_document import CombinedReport
from sweeper.report.curves import BAND_QUANTILES
from sweeper.report.document import Report, list_claims
from sweeper.report.figure_parts import exceeds_line_limit
from sweeper.report.figures import build_figures
from sweeper.report.figures_arms import MAX_RADAR_ARMS, list_heatmap_models
from sweeper.report.formatting import (
    format_counts,
    format_duration,
    format_estimate,
    format_manifest_value,
    format_number,
    format_p_value,
    format_short_count,
    join_names,
)
from sweeper.report.html_tables import MAX_CLAIM_ARMS, build_html_tables, find_claim_arms, group_failures
from sweeper.report.text import list_claim_notes

FIGURE_DIGITS = 6
"""Significant digits of drawn numbers: no screen shows more."""
TEMPLATES = Path(__file__).parent / "templates"


def render_html(document: Report) -> str:
    """Render the report of a study.

    All text of the document is untrusted and escaped; only Plotly's code is not.
    """
    figures = {
        name: json.loads(figure.to_json(), parse_float=_round_figure_number)
        for name, figure in build_figures(document).items()
    }
    for figure in figures.values():
        figure["layout"].pop("template", None)
    tables = build_html_tables(document)
    page = (
        _make_jinja_environment()
        .get_template("report.html.j2")
        .render(
            **document,
            figures=figures,
            figures_json=encode_script_json(figures),
            grids=tables,
            grids_json=encode_script_json({name: table.payload for name, table in tables.items() if table.is_paged}),
            claim_arms={claim["id"]: find_claim_arms(claim, document) for claim in list_claims(document)},
            claim_arms_shown=MAX_CLAIM_ARMS,
            failures=group_failures(document),
            radar_arms=MAX_RADAR_ARMS,
            band_percentiles=[f"{100 * quantile:g}" for quantile in (BAND_QUANTILES[0], BAND_QUANTILES[-1])],
            map_models=list_heatmap_models(document),
            many_lines=exceeds_line_limit(document["arms"], document["study"]["varied"]),
            result_labels=RESULT_LABELS,
            deciding=_find_deciding_comparison,
            plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - our dependency's code, not data
            styles=_load_styles(),
            script=Markup((TEMPLATES / "report.js").read_text(encoding="utf-8")),  # noqa: S704 - our own
        )
    )
    return page + "\n"


def render_combined_html(document: CombinedReport) -> str:
    """Render the report of a union of sweeps, without scripts. All text of the document is escaped."""
    pages = {part["sweep"]: part["page"] for part in document["parts"]}
    template = _make_jinja_environment().get_template("union.html.j2")
    return template.render(**document, pages=pages, styles=_load_styles()) + "\n"


def _round_figure_number(text: str) -> float:
    return float(f"{float(text):.{FIGURE_DIGITS}g}")


def _load_styles() -> Markup:
    return Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))  # noqa: S704 - our own


def _make_jinja_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "number": lambda value, digits=3: format_number(value, f".{digits}f"),
        "count": lambda value: format_number(value, ",.0f"),
        "short": format_short_count,
        "size": lambda value, measure: format_short_count(value) if measure == "parameters" else f"{value:.3g}",
        "duration": format_duration,
        "words": lambda name: get_axis_label(str(name)),
        "plain": format_manifest_value,
        "listed": join_names,
        "counted": format_counts,
        "amount": format_estimate,
        "p_value": format_p_value,
    }
    environment.filters |= filters | {"notes": list_claim_notes}
    return environment


def encode_script_json(value: Mapping[str, object]) -> Markup:
    """Write JSON that is safe inside a <script> element: no text in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def _find_deciding_comparison(claim: ClaimEntry) -> ComparisonEntry | None:
    """Find the comparison whose numbers are the claim's."""
    for part in claim["components"]:
        if part["estimate"] == claim["estimate"] and part["interval"] == claim["interval"]:
            return part
    return None
