"""A search: what it may propose, what it has proposed, and what became of it, in Optuna's storage."""

from sweeper.search.entries import ProposalRecord
from sweeper.search.history import (
    build_search_document,
    is_exhausted,
    load_search_history,
    sample_placeholders,
    select_finalists,
)
from sweeper.search.session import SearchSession, convert_row_to_optuna
from sweeper.search.space import Proposal, build_baseline_proposals, count_planned_trials, require_search
from sweeper.search.storage import JOURNAL_FILE, open_storage

__all__ = [
    "JOURNAL_FILE",
    "Proposal",
    "ProposalRecord",
    "SearchSession",
    "build_baseline_proposals",
    "build_search_document",
    "convert_row_to_optuna",
    "count_planned_trials",
    "is_exhausted",
    "load_search_history",
    "open_storage",
    "require_search",
    "sample_placeholders",
    "select_finalists",
]
