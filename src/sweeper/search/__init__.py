"""Hyperparameter search with Optuna: proposals, their outcomes, and the storage that holds both.

Algorithms are the files of `samplers`, schedulers those of `pruners`.
"""

from sweeper.search.history import (
    ProposalRecord,
    SearchHistory,
    load_proposal_records,
    load_search_history,
    select_finalists,
)
from sweeper.search.remaining import is_exhausted, sample_placeholders
from sweeper.search.session import SearchSession, convert_outcome
from sweeper.search.space import (
    AxisValue,
    Proposal,
    build_baseline_proposals,
    count_planned_trials,
    require_search,
)
from sweeper.search.storage import JOURNAL_FILE, open_storage

__all__ = [
    "JOURNAL_FILE",
    "AxisValue",
    "Proposal",
    "ProposalRecord",
    "SearchHistory",
    "SearchSession",
    "build_baseline_proposals",
    "convert_outcome",
    "count_planned_trials",
    "is_exhausted",
    "load_proposal_records",
    "load_search_history",
    "open_storage",
    "require_search",
    "sample_placeholders",
    "select_finalists",
]
