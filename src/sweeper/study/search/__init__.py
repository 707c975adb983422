"""A search: what it may propose, what it has proposed, and what became of it, in Optuna's storage."""

from sweeper.study.search.entries import Entry
from sweeper.study.search.history import drawn, exhausted, finalists, history, search_document
from sweeper.study.search.proposing import Search, outcome_of
from sweeper.study.search.space import Proposal, anchors, asked_by, trials_planned
from sweeper.study.search.storage import JOURNAL, storage_of

__all__ = [
    "JOURNAL",
    "Entry",
    "Proposal",
    "Search",
    "anchors",
    "asked_by",
    "drawn",
    "exhausted",
    "finalists",
    "history",
    "outcome_of",
    "search_document",
    "storage_of",
    "trials_planned",
]
