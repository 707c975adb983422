"""The report's document -> one self-contained HTML page: no request leaves the file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sweeper.report import plots
from sweeper.report.sentences import points

TEMPLATES = Path(__file__).parent / "templates"
MISSING = "–"


def render_html(document: Mapping[str, Any]) -> str:
    """Render `build_report`'s document. All text in it is untrusted and escaped; only Plotly's own code is not."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "points": lambda rate: MISSING if rate is None else points(rate),
        "number": number,
        "count": lambda value: MISSING if value is None else f"{value:,.0f}",
        "short": plots.short_count,
        "duration": duration,
        "words": lambda name: str(name).replace("_", " "),
        "plain": plain,
    }
    drawn = {name: json.loads(figure.to_json()) for name, figure in plots.figures(dict(document)).items()}
    for figure in drawn.values():
        figure["layout"].pop("template", None)
    page = environment.get_template("report.html.j2").render(
        **document,
        figures=drawn,
        figures_json=script_json(drawn),
        plotly_js=Markup(get_plotlyjs()),  # noqa: S704 - our dependency's code, not data
        styles=Markup((TEMPLATES / "report.css").read_text()),  # noqa: S704
        script=Markup((TEMPLATES / "report.js").read_text()),  # noqa: S704
    )
    return page + "\n"


def script_json(value: Any) -> Markup:
    """JSON that is safe inside a <script> element: no text in it can close the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped above


def percent(rate: float | None) -> str:
    """A rate as `77.5 %`."""
    return MISSING if rate is None else f"{100 * rate:.1f} %"


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals, so that columns align."""
    return MISSING if value is None else f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Seconds as `47 s`, `12 min` or `3.4 h`."""
    if seconds is None:
        return MISSING
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def plain(value: Any) -> str:
    """A value of the manifest as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return {None: MISSING, True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)
