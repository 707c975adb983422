"""Numbers, axes, trials and documents as text, as the report and the command line show them."""

from sweeper.config.axes import format_axis_value, get_axis_label
from sweeper.report.claim_document import ClaimEntry
from sweeper.report.document import TrialEntry
from sweeper.report.formatting import (
    MISSING,
    format_bytes,
    format_counts,
    format_duration,
    format_number,
    format_range,
    format_si,
)
from sweeper.report.text import list_claim_notes
from sweeper.report.trial_columns import STATUS, list_status_columns
from sweeper.storage import JsonObject, dump_json

__all__ = [
    "MISSING",
    "STATUS",
    "ClaimEntry",
    "JsonObject",
    "TrialEntry",
    "dump_json",
    "format_axis_value",
    "format_bytes",
    "format_counts",
    "format_duration",
    "format_number",
    "format_range",
    "format_si",
    "get_axis_label",
    "list_claim_notes",
    "list_status_columns",
]
