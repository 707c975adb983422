"""Rates of all runs and arms of a study at once, in a few passes over flat arrays.

The numbers are those of `build_pass_matrix`, `compute_pass_rate`, `compute_subset_rates`, `average_subset_rates` and
`compute_rates_by_subset`, for studies of ten thousand runs. An invalid table is passed to those functions, which raise
the error.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweeper.statistics import (
    COUNTED_STATUSES,
    DEFINITIONS,
    PassRate,
    build_pass_matrix,
    compute_rates_by_subset,
    score_tooleval,
)
from sweeper.statistics.aliases import Array, BoolArray, Codes
from sweeper.statistics.intervals import wilson_intervals
from sweeper.statistics.pass_matrix import QUERY_COLUMNS
from sweeper.statistics.vote_scores import VOTE_STATUSES

if TYPE_CHECKING:
    import pandas as pd

ROWS_PER_BLOCK = 1_000_000
"""Outcome rows per block, which bounds the memory used besides the tables."""

FAILURE_MODES = {
    "unfinished": "no final answer",
    "incoherent": "a step without an Action, or a call made three times",
    "hallucinated": "an API that was not offered",
    "overgenerated": "extra text after the call",
}
"""Ways in which small models fail (arXiv 2512.15943, section 6): share of episodes with at least one."""


class EncodedOutcomes:
    """Outcomes with run and query encoded as integers."""

    def __init__(self, outcomes: pd.DataFrame) -> None:
        import pandas as pd

        self.outcomes = outcomes
        self.run_codes, self.run_names = encode_column(outcomes["fingerprint"])
        subset, subsets = encode_column(outcomes["subset"])
        query, queries = encode_column(outcomes["query_id"])
        pairs, self.query_codes = _compact_codes(subset * len(queries) + query, len(subsets) * len(queries))
        self.query_index = pd.MultiIndex.from_arrays(
            [subsets[pairs // len(queries)], queries[pairs % len(queries)]], names=QUERY_COLUMNS
        )
        # Rows of one run are adjacent in the tables that `results` makes; otherwise they are sorted.
        self.row_order: Codes | None = None
        if len(self.run_codes) and (np.diff(self.run_codes) < 0).any():
            self.row_order = np.argsort(self.run_codes, kind="stable")
        ends = np.bincount(self.run_codes, minlength=len(self.run_names)).cumsum()
        self.run_starts = np.concatenate([[0], ends])

    def iterate_blocks(self) -> Iterator[tuple[int, int, Any]]:
        """Yield (first run, last run + 1, their rows), about ROWS_PER_BLOCK rows each."""
        first = 0
        while first < len(self.run_names):
            last = int(np.searchsorted(self.run_starts, self.run_starts[first] + ROWS_PER_BLOCK, side="right")) - 1
            last = min(max(last, first + 1), len(self.run_names))
            rows = slice(self.run_starts[first], self.run_starts[last])
            yield first, last, rows if self.row_order is None else self.row_order[rows]
            first = last

    def build_pass_matrix(self, trials: pd.DataFrame) -> pd.DataFrame:
        """Build the matrix that `build_pass_matrix` returns; raise DataError as it does."""
        import pandas as pd

        planned = trials.loc[trials["fingerprint"].astype(str) != ""]
        values = (
            None if planned["fingerprint"].duplicated().any() else self._compute_passes(set(planned["fingerprint"]))
        )
        if values is None:
            return build_pass_matrix(trials, self.outcomes)
        order = self.query_index.sortlevel()[1]
        places = {name: i for i, name in enumerate(self.run_names)}
        counted = planned.loc[planned["status"].isin(COUNTED_STATUSES)]
        diverged = set(counted.loc[counted["status"] == "DIVERGED", "fingerprint"])
        kept = [name for name in counted["fingerprint"] if name in places or name in diverged]
        found = np.zeros((len(order), len(kept)))
        for column, name in enumerate(kept):
            if name not in diverged:
                found[:, column] = values[places[name], order]
        return pd.DataFrame(found, index=self.query_index[order], columns=pd.Index(kept, name="fingerprint"))

    def _compute_passes(self, planned_fingerprints: set[str]) -> Array | None:
        """Return (runs, queries); None where the table breaks its contract."""
        columns = self.outcomes.columns
        if not {"judge", "vote", "passed"} <= set(columns) or set(self.run_names) - planned_fingerprints:
            return None
        judge, judges = encode_column(self.outcomes["judge"])
        vote, votes = encode_column(self.outcomes["vote"])
        if len({str(name) for name in judges[np.unique(judge)]}) > 1:
            return None
        passed = self.outcomes["passed"].to_numpy(dtype=float)
        if ((passed < 0) | (passed > 1)).any():
            return None
        values = np.full((len(self.run_names), len(self.query_index)), np.nan)
        single = True
        for first, last, rows in self.iterate_blocks():
            cells, own = (last - first) * len(self.query_index), passed[rows]
            at = (self.run_codes[rows] - first) * len(self.query_index) + self.query_codes[rows]
            if np.bincount(at * len(votes) + vote[rows], minlength=1).max() > 1:
                return None
            counts = np.bincount(at, minlength=cells)
            scored = ~np.isnan(own)
            n_scored, total = count_codes(at[scored], cells), np.bincount(at[scored], own[scored], minlength=cells)
            with np.errstate(invalid="ignore"):
                block = total / n_scored
            values[first:last] = block.reshape(last - first, -1)
            single &= bool((counts <= 1).all())
        if not single:
            # Several votes become their majority; a tie fails.
            values = np.where(np.isnan(values), np.nan, values > 0.5)
        return values

    def summarize_runs(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return, by run, its pass rate under every definition and the share of its episodes with each failure mode."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        if not {"status", "task", "answered", "overgenerated"} <= set(self.outcomes.columns):
            return found
        for first, last, rows in self.iterate_blocks():
            shape = (last - first, len(self.query_index))
            at = (self.run_codes[rows] - first) * shape[1] + self.query_codes[rows]
            cells = shape[0] * shape[1]
            has_votes = count_codes(at, cells).reshape(shape) > 0
            means = self._score_definitions(rows, at, cells)
            shares = {
                name: self._compute_episode_share(name, rows, at, has_votes) for name in (*FAILURE_MODES, "finished")
            }
            with np.errstate(invalid="ignore"):
                rates = {name: _average_rows(value.reshape(shape)) for name, value in means.items()}
            for k in range(shape[0]):
                own = {name: float(share[k]) for name, share in shares.items() if share is not None}
                if "finished" in own:
                    own["unfinished"] = 1 - own.pop("finished")
                found[str(self.run_names[first + k])] = {
                    "definitions": {name: float(rate[k]) for name, rate in rates.items()},
                    "signatures": {name: own[name] for name in FAILURE_MODES if name in own},
                }
        return found

    def _compute_episode_share(self, name: str, rows: Any, cell_codes: Codes, has_votes: BoolArray) -> Array | None:
        """Return the share of each run's episodes with a property, which is the same in every vote on an episode."""
        if name not in self.outcomes.columns:
            return None
        there = self.outcomes[name].iloc[rows].to_numpy(dtype=float)
        weights = np.bincount(cell_codes, there, minlength=has_votes.size).reshape(has_votes.shape)
        votes = count_codes(cell_codes, has_votes.size).reshape(has_votes.shape)
        return np.asarray(
            np.divide(weights, votes, where=has_votes, out=np.zeros(has_votes.shape)).sum(axis=1) / has_votes.sum(1)
        )

    def _score_definitions(self, rows: Any, cell_codes: Codes, n_cells: int) -> dict[str, Array]:
        """Score every (run, query) under each definition, as the functions of `definitions` do."""
        columns = {name: self.outcomes[name].iloc[rows] for name in ("status", "task", "answered")}
        status, statuses = encode_column(columns["status"])
        for place in np.flatnonzero(~np.isin(statuses.astype(str), VOTE_STATUSES)):
            if (status == place).any():
                # Raises the DataError that names the unknown status.
                compute_rates_by_subset(self.outcomes.iloc[rows].iloc[np.flatnonzero(status == place)[:1]], [])
        task, tasks = encode_column(columns["task"])
        is_ = {name: status == _find_code(statuses, name) for name in ("solved", "unsolved", "unsure")}
        task_is = {name: task == _find_code(tasks, name) for name in ("unsolvable", "unsure")}
        answered = columns["answered"].to_numpy(dtype=bool)
        scored = is_["solved"] | is_["unsolved"] | is_["unsure"]
        n, solved, unsure = (
            count_codes(cell_codes[which], n_cells) for which in (scored, is_["solved"], is_["unsure"])
        )
        passed = scored & answered & (is_["solved"] | task_is["unsolvable"])
        coin = scored & answered & ~passed & (is_["unsure"] | task_is["unsure"])
        worth = passed.astype(float)
        worth[coin] = self._flip_coins(rows, coin)
        with np.errstate(invalid="ignore"):
            found = {
                "strict": (2 * solved > n).astype(float),
                "stabletoolbench": (solved + unsure / 2) / n,
                "tooleval": (2 * np.bincount(cell_codes, worth, minlength=n_cells) >= n).astype(float),
            }
        return {name: np.where(n > 0, found[name], np.nan) for name in DEFINITIONS}

    def _flip_coins(self, rows: Any, needs_coin: BoolArray) -> Array:
        """Flip the coin of each of these votes: it depends on query and vote number, and is equal in every run."""
        chosen = (np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows)[needs_coin]
        votes, numbers = self.outcomes["vote"].iloc[chosen].to_numpy(), self.query_codes[chosen]
        coin_by_key: dict[tuple[int, int], float] = {}
        coins = np.empty(len(chosen))
        for i, key in enumerate(zip(numbers.tolist(), votes.tolist(), strict=True)):
            if key not in coin_by_key:
                subset, query = self.query_index[key[0]]
                vote = {"subset": subset, "query_id": query, "vote": key[1]}
                coin_by_key[key] = score_tooleval([vote | {"status": "unsure", "task": None, "answered": True}])
            coins[i] = coin_by_key[key]
        return coins


def encode_column(column: pd.Series[Any]) -> tuple[Codes, NDArray[Any]]:
    """Encode a column as places in its distinct values, in order of appearance; -1 for a missing value."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        own = column.cat.codes.to_numpy()
        return own.astype(np.int64), column.cat.categories.to_numpy(dtype=object)
    found, values = pd.factorize(column)
    return found.astype(np.int64), np.asarray(values, dtype=object)


def count_codes(cell_codes: Codes, n_cells: int) -> Codes:
    """Count the occurrences of each code."""
    return np.bincount(cell_codes, minlength=n_cells)


def _compact_codes(pair_codes: Codes, n_possible: int) -> tuple[Codes, Codes]:
    """Return the codes that occur, and each row's place among them."""
    used = (
        np.flatnonzero(np.bincount(pair_codes, minlength=max(1, n_possible)))
        if len(pair_codes)
        else np.zeros(0, dtype=np.int64)
    )
    numbers = np.zeros(max(1, n_possible), dtype=np.int64)
    numbers[used] = np.arange(len(used))
    return used, numbers[pair_codes]


def _find_code(values: NDArray[Any], name: str) -> int:
    """Return the code of a value; -2, which no row has, where it does not occur."""
    found = np.flatnonzero(values == name)
    return int(found[0]) if len(found) else -2


def _average_rows(values: Array) -> Array:
    """Average each row over its defined values."""
    there = ~np.isnan(values)
    return np.asarray(np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1))


@dataclass(frozen=True)
class ArmRates:
    """The rates of an arm: over all queries, by subset, and the plain mean of subsets."""

    overall: PassRate
    subsets: dict[str, PassRate]
    subset_mean: PassRate


def compute_arm_rates(matrix: pd.DataFrame, arms: Sequence[Sequence[str]], alpha: float) -> list[ArmRates]:
    """Compute the rates of many arms, each given by the fingerprints of its runs."""
    values = matrix.to_numpy(dtype=float)
    places = {name: i for i, name in enumerate(matrix.columns)}
    subset, names = encode_column(matrix.index.get_level_values("subset").to_series())
    order = sorted(range(len(names)), key=lambda k: str(names[k]))
    k = len(order)
    rates = np.full((len(arms), k + 2), np.nan)
    sizes = np.zeros((len(arms), k + 2))
    queries, scored, unscored = (np.zeros((len(arms), k + 1), dtype=np.int64) for _ in range(3))
    for i, arm in enumerate(arms):
        own = values[:, [places[name] for name in arm if name in places]]
        there = ~np.isnan(own)
        count = there.sum(axis=1)
        is_scored = count > 0
        by_query = np.divide(np.where(there, own, 0.0).sum(axis=1), count, where=is_scored, out=np.zeros(len(own)))
        if k:
            for line, weights in ((queries, is_scored), (scored, count), (unscored, own.shape[1] - count)):
                line[i, 1:] = np.bincount(subset, weights, minlength=k)[order]
                line[i, 0] = line[i, 1:].sum()
            sums = np.bincount(subset, by_query, minlength=k)[order]
            with np.errstate(invalid="ignore", divide="ignore"):
                rates[i, 1:-1] = sums / queries[i, 1:]
                rates[i, 0] = by_query.sum() / queries[i, 0]
                rates[i, -1] = rates[i, 1:-1].mean() if k else math.nan
                sizes[i, -1] = k**2 / (1 / queries[i, 1:]).sum() if k else 0
    sizes[:, :-1] = queries
    low, high = wilson_intervals(rates, sizes, alpha)

    def rate(i: int, j: int) -> PassRate:
        at = 0 if j == k + 1 else j
        counts = (int(line[i, at]) for line in (queries, scored, unscored))
        return PassRate(float(rates[i, j]), float(low[i, j]), float(high[i, j]), *counts)

    return [
        ArmRates(rate(i, 0), {str(names[at]): rate(i, j) for j, at in enumerate(order, 1)}, rate(i, k + 1))
        for i in range(len(arms))
    ]


def compute_run_rates(matrix: pd.DataFrame) -> dict[str, float]:
    """Compute each run's rate over the queries it was scored on."""
    values = matrix.to_numpy(dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = _average_rows(values.T) if values.size else np.full(len(matrix.columns), np.nan)
    return dict(zip(matrix.columns, found.tolist(), strict=True))


def summarize_outcomes(outcomes: pd.DataFrame, trials: pd.DataFrame) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """Return the pass matrix and a summary of each run.

    Raises:
        DataError: a table that breaks its contract.
    """
    if outcomes.empty or not {"fingerprint", *QUERY_COLUMNS} <= set(outcomes.columns):
        return build_pass_matrix(trials, outcomes), {}
    if outcomes[["fingerprint", *QUERY_COLUMNS]].isna().to_numpy().any():
        return build_pass_matrix(trials, outcomes), {}
    tally = EncodedOutcomes(outcomes)
    return tally.build_pass_matrix(trials), tally.summarize_runs()
