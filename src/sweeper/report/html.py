"""The report's document -> one self-contained HTML page: no request leaves the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sweeper.report import figures as plots
from sweeper.report.html_tables import (
    AXIS_LABELS,
    MAX_CLAIM_ARMS,
    MISSING,
    build_html_tables,
    find_claim_arms,
    format_duration,
    group_failures,
    join_names,
)
from sweeper.report.text import format_percentage_points

FIGURE_DIGITS = 6
"""Significant digits of what is drawn: no screen shows more."""
SMALLEST_P = 1e-12
"""Where `statistics` stops looking."""
TEMPLATES = Path(__file__).parent / "templates"


def render_html(document: Mapping[str, Any]) -> str:
    """Render `build_report`'s document. All text in it is untrusted and escaped; only Plotly's own code is not."""
    environment = _make_jinja_environment()
    drawn = {
        name: json.loads(figure.to_json(), parse_float=lambda text: float(f"{float(text):.{FIGURE_DIGITS}g}"))
        for name, figure in plots.build_figures(dict(document)).items()
    }
    for figure in drawn.values():
        figure["layout"].pop("template", None)
    tables = build_html_tables(document)
    page = environment.get_template("report.html.j2").render(
        **document,
        figures=drawn,
        figures_json=encode_script_json(drawn),
        grids=tables,
        grids_json=encode_script_json({name: grid.payload for name, grid in tables.items() if grid.is_paged}),
        claim_arms={claim["id"]: find_claim_arms(claim, document) for claim in document["claims"]},
        claim_arms_shown=MAX_CLAIM_ARMS,
        failures=group_failures(document),
        radar_arms=plots.MAX_RADAR_ARMS,
        map_models=plots.list_heatmap_models(dict(document)),
        many_lines=_exceeds_line_limit(document),
        deciding=_find_deciding_comparison,
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - our dependency's code, not data
        styles=_load_styles(),
        script=Markup((TEMPLATES / "report.js").read_text()),  # noqa: S704
    )
    return page + "\n"


def render_combined_html(document: Mapping[str, Any]) -> str:
    """Render `report_union`'s document, its parts' pages named: without scripts. All text in it is escaped."""
    pages = {part["sweep"]: part["page"] for part in document["parts"]}
    return (
        _make_jinja_environment().get_template("union.html.j2").render(**document, pages=pages, styles=_load_styles())
        + "\n"
    )


def _load_styles() -> Markup:
    return Markup((TEMPLATES / "report.css").read_text())  # noqa: S704 - our own


def _make_jinja_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": format_percent,
        "points": lambda rate: MISSING if rate is None else format_percentage_points(rate),
        "number": format_number,
        "count": lambda value: MISSING if value is None else f"{value:,.0f}",
        "short": plots.format_short_count,
        "size": lambda value, kind: plots.format_short_count(value) if kind == "parameters" else f"{value:.3g}",
        "duration": format_duration,
        "words": lambda name: AXIS_LABELS.get(str(name), str(name).replace("_", " ")),
        "plain": format_manifest_value,
        "listed": join_names,
        "counted": lambda counts: ", ".join(f"{count:,} {name}" for name, count in counts.items()),
        "amount": format_estimate,
        "p_value": format_p_value,
    }
    environment.filters |= filters
    return environment


def encode_script_json(value: Any) -> Markup:
    """JSON that is safe inside a <script> element: no text in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def format_percent(rate: float | None) -> str:
    """A rate as `77.5 %`."""
    return MISSING if rate is None else f"{100 * rate:.1f} %"


def format_number(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals, so that columns align."""
    return MISSING if value is None else f"{value:.{digits}f}"


def format_estimate(value: float | None, unit: str | None = "points") -> str:
    """A number in a comparison's unit, signed where 0 is no difference."""
    if value is None:
        return MISSING
    if unit in (None, "points"):
        return format_percentage_points(value)
    return f"{value:+.3f}".replace("-", "−") if unit == "nats" else f"{value:.2f}".replace("-", "−")


def format_p_value(value: float | None) -> str:
    """A p-value with two digits; the smallest there is, is a bound."""
    if value is None:
        return MISSING
    return f"≤ {value:.0g}" if value <= SMALLEST_P else f"{value:.2g}"


def format_manifest_value(value: Any) -> str:
    """A value of the manifest as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_manifest_value(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(format_manifest_value(item) for item in value)
    return {None: MISSING, True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def _find_deciding_comparison(claim: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The comparison whose numbers are the claim's."""
    for part in claim["components"]:
        if part["estimate"] == claim["estimate"] and part["interval"] == claim["interval"]:
            found: Mapping[str, Any] = part
            return found
    return None


def _exceeds_line_limit(document: Mapping[str, Any]) -> bool:
    """Whether plots over an axis show the arms' median instead of a line each."""
    others = [axis for axis in document["study"]["varied"] if axis != "model"]
    return len({tuple(arm[axis] for axis in others) for arm in document["arms"]}) > plots.MAX_PLOT_LINES
