"""Outcome rows of a whole study -> rates of runs and arms, in a few passes over flat arrays.

The same numbers as `statistics.pass_matrix`, `pass_rate`, `subset_rates`, `subset_mean` and `by_subset` give one arm or
one run at a time, for studies of ten thousand runs. What breaks a table's contract is left to those to name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sweeper.statistics import COUNTED, DEFINITIONS, Rate, by_subset, pass_matrix, tooleval

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
ROWS_AT_ONCE = 1_000_000
"""Outcome rows counted together: what is in memory besides the tables stays small."""
QUERY = ["subset", "query_id"]
STATUSES = ("solved", "unsolved", "unsure")

SIGNATURES = {
    "unfinished": "no final answer",
    "incoherent": "a step without an Action, or a call made three times",
    "hallucinated": "an API that was not offered",
    "overgenerated": "text beyond its action",
}
"""Ways in which small models fail (arXiv 2512.15943, section 6): share of episodes with at least one."""


class Tally:
    """Outcomes by run and query, as codes."""

    def __init__(self, outcomes: pd.DataFrame) -> None:
        import pandas as pd

        self.outcomes = outcomes
        self.run, self.runs = codes(outcomes["fingerprint"])
        subset, subsets = codes(outcomes["subset"])
        query, queries = codes(outcomes["query_id"])
        pairs, self.query = _dense(subset * len(queries) + query, len(subsets) * len(queries))
        self.queries = pd.MultiIndex.from_arrays(
            [subsets[pairs // len(queries)], queries[pairs % len(queries)]], names=QUERY
        )
        # Rows of one run stand together in every table that `collect` makes; else they are brought together.
        self.order: Codes | None = None
        if len(self.run) and (np.diff(self.run) < 0).any():
            self.order = np.argsort(self.run, kind="stable")
        ends = np.bincount(self.run, minlength=len(self.runs)).cumsum()
        self.starts = np.concatenate([[0], ends])

    def blocks(self) -> Iterator[tuple[int, int, Any]]:
        """(first run, last run + 1, their rows), about ROWS_AT_ONCE rows each."""
        first = 0
        while first < len(self.runs):
            last = int(np.searchsorted(self.starts, self.starts[first] + ROWS_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), len(self.runs))
            rows = slice(self.starts[first], self.starts[last])
            yield first, last, rows if self.order is None else self.order[rows]
            first = last

    def matrix(self, trials: pd.DataFrame) -> pd.DataFrame:
        """What `pass_matrix` returns. Raises DataError as it does."""
        import pandas as pd

        planned = trials.loc[trials["fingerprint"].astype(str) != ""]
        values = None if planned["fingerprint"].duplicated().any() else self._passes(set(planned["fingerprint"]))
        if values is None:
            return pass_matrix(trials, self.outcomes)
        order = self.queries.sortlevel()[1]
        places = {name: i for i, name in enumerate(self.runs)}
        counted = planned.loc[planned["status"].isin(COUNTED)]
        diverged = set(counted.loc[counted["status"] == "DIVERGED", "fingerprint"])
        kept = [name for name in counted["fingerprint"] if name in places or name in diverged]
        found = np.zeros((len(order), len(kept)))
        for column, name in enumerate(kept):
            if name not in diverged:
                found[:, column] = values[places[name], order]
        return pd.DataFrame(found, index=self.queries[order], columns=pd.Index(kept, name="fingerprint"))

    def _passes(self, planned: set[str]) -> Array | None:
        """(runs, queries); None where the table breaks its contract."""
        columns = self.outcomes.columns
        if not {"judge", "vote", "passed"} <= set(columns) or set(self.runs) - planned:
            return None
        judge, judges = codes(self.outcomes["judge"])
        vote, votes = codes(self.outcomes["vote"])
        if len({str(name) for name in judges[np.unique(judge)]}) > 1:
            return None
        passed = self.outcomes["passed"].to_numpy(dtype=float)
        if ((passed < 0) | (passed > 1)).any():
            return None
        values = np.full((len(self.runs), len(self.queries)), np.nan)
        single = True
        for first, last, rows in self.blocks():
            cells, own = (last - first) * len(self.queries), passed[rows]
            at = (self.run[rows] - first) * len(self.queries) + self.query[rows]
            if np.bincount(at * len(votes) + vote[rows], minlength=1).max() > 1:
                return None
            counts = np.bincount(at, minlength=cells)
            scored = ~np.isnan(own)
            asked, total = counts_of(at[scored], cells), np.bincount(at[scored], own[scored], minlength=cells)
            with np.errstate(invalid="ignore"):
                block = total / asked
            values[first:last] = block.reshape(last - first, -1)
            single &= bool((counts <= 1).all())
        if not single:
            # Several votes become their majority; a tie fails.
            values = np.where(np.isnan(values), np.nan, values > 0.5)
        return values

    def by_run(self) -> dict[str, dict[str, dict[str, float]]]:
        """Of each run: its pass rate under every definition, and how often its episodes fail in which way."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        if not {"status", "task", "answered", "overgenerated"} <= set(self.outcomes.columns):
            return found
        for first, last, rows in self.blocks():
            shape = (last - first, len(self.queries))
            at = (self.run[rows] - first) * shape[1] + self.query[rows]
            cells = shape[0] * shape[1]
            asked = counts_of(at, cells).reshape(shape) > 0
            means = self._definitions(rows, at, cells)
            shares = {name: self._share(name, rows, at, asked) for name in (*SIGNATURES, "finished")}
            with np.errstate(invalid="ignore"):
                rates = {name: _mean(value.reshape(shape)) for name, value in means.items()}
            for k in range(shape[0]):
                own = {name: float(share[k]) for name, share in shares.items() if share is not None}
                if "finished" in own:
                    own["unfinished"] = 1 - own.pop("finished")
                found[str(self.runs[first + k])] = {
                    "definitions": {name: float(rate[k]) for name, rate in rates.items()},
                    "signatures": {name: own[name] for name in SIGNATURES if name in own},
                }
        return found

    def _share(self, name: str, rows: Any, at: Codes, asked: NDArray[np.bool_]) -> Array | None:
        """Share of a run's episodes with a property; every vote of an episode says the same."""
        if name not in self.outcomes.columns:
            return None
        there = self.outcomes[name].iloc[rows].to_numpy(dtype=float)
        weights = np.bincount(at, there, minlength=asked.size).reshape(asked.shape)
        votes = counts_of(at, asked.size).reshape(asked.shape)
        return np.asarray(np.divide(weights, votes, where=asked, out=np.zeros(asked.shape)).sum(axis=1) / asked.sum(1))

    def _definitions(self, rows: Any, at: Codes, cells: int) -> dict[str, Array]:
        """Worth of every (run, query) under each definition, as `strict`, `stabletoolbench` and `tooleval` have it."""
        columns = {name: self.outcomes[name].iloc[rows] for name in ("status", "task", "answered")}
        status, statuses = codes(columns["status"])
        for place in np.flatnonzero(~np.isin(statuses.astype(str), STATUSES)):
            if (status == place).any():
                # Raises DataError with the word that is none.
                by_subset(self.outcomes.iloc[rows].iloc[np.flatnonzero(status == place)[:1]], [])
        task, tasks = codes(columns["task"])
        is_ = {name: status == _place(statuses, name) for name in ("solved", "unsolved", "unsure")}
        task_is = {name: task == _place(tasks, name) for name in ("unsolvable", "unsure")}
        answered = columns["answered"].to_numpy(dtype=bool)
        scored = is_["solved"] | is_["unsolved"] | is_["unsure"]
        n, solved, unsure = (counts_of(at[which], cells) for which in (scored, is_["solved"], is_["unsure"]))
        passed = scored & answered & (is_["solved"] | task_is["unsolvable"])
        coin = scored & answered & ~passed & (is_["unsure"] | task_is["unsure"])
        worth = passed.astype(float)
        worth[coin] = self._coins(rows, coin)
        with np.errstate(invalid="ignore"):
            found = {
                "strict": (2 * solved > n).astype(float),
                "stabletoolbench": (solved + unsure / 2) / n,
                "tooleval": (2 * np.bincount(at, worth, minlength=cells) >= n).astype(float),
            }
        return {name: np.where(n > 0, found[name], np.nan) for name in DEFINITIONS}

    def _coins(self, rows: Any, coin: NDArray[np.bool_]) -> Array:
        """The coin of each such vote: that of its query and number, the same in every run."""
        chosen = (np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows)[coin]
        votes, numbers = self.outcomes["vote"].iloc[chosen].to_numpy(), self.query[chosen]
        thrown: dict[tuple[int, int], float] = {}
        made = np.empty(len(chosen))
        for i, key in enumerate(zip(numbers.tolist(), votes.tolist(), strict=True)):
            if key not in thrown:
                subset, query = self.queries[key[0]]
                vote = {"subset": subset, "query_id": query, "vote": key[1]}
                thrown[key] = tooleval([vote | {"status": "unsure", "task": None, "answered": True}])
            made[i] = thrown[key]
        return made


def codes(column: pd.Series[Any]) -> tuple[Codes, NDArray[Any]]:
    """A column as places in its distinct values, in order of appearance; -1 for nothing."""
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        own = column.cat.codes.to_numpy()
        return own.astype(np.int64), column.cat.categories.to_numpy(dtype=object)
    found, values = pd.factorize(column)
    return found.astype(np.int64), np.asarray(values, dtype=object)


def counts_of(at: Codes, cells: int) -> Codes:
    """How often each place is named."""
    return np.bincount(at, minlength=cells)


def _dense(places: Codes, most: int) -> tuple[Codes, Codes]:
    """The places that occur, and each row's number among them."""
    used = np.flatnonzero(np.bincount(places, minlength=max(1, most))) if len(places) else np.zeros(0, dtype=np.int64)
    numbers = np.zeros(max(1, most), dtype=np.int64)
    numbers[used] = np.arange(len(used))
    return used, numbers[places]


def _place(values: NDArray[Any], name: str) -> int:
    """Where a word is among a column's values; a code that no row has where it is not."""
    found = np.flatnonzero(values == name)
    return int(found[0]) if len(found) else -2


def _mean(values: Array) -> Array:
    """Of each row, over what is defined."""
    there = ~np.isnan(values)
    return np.asarray(np.where(there, values, 0.0).sum(axis=1) / there.sum(axis=1))


@dataclass(frozen=True)
class ArmRates:
    """An arm's rates: over all queries, by subset, and the plain mean of subsets."""

    overall: Rate
    subsets: dict[str, Rate]
    mean: Rate


def arm_rates(matrix: pd.DataFrame, arms: Sequence[Sequence[str]], alpha: float) -> list[ArmRates]:
    """`pass_rate`, `subset_rates` and `subset_mean` of many arms, each given by its runs' fingerprints."""
    values = matrix.to_numpy(dtype=float)
    places = {name: i for i, name in enumerate(matrix.columns)}
    subset, names = codes(matrix.index.get_level_values("subset").to_series())
    order = sorted(range(len(names)), key=lambda k: str(names[k]))
    k = len(order)
    rates = np.full((len(arms), k + 2), np.nan)
    sizes = np.zeros((len(arms), k + 2))
    queries, scored, unscored = (np.zeros((len(arms), k + 1), dtype=np.int64) for _ in range(3))
    for i, arm in enumerate(arms):
        own = values[:, [places[name] for name in arm if name in places]]
        there = ~np.isnan(own)
        count = there.sum(axis=1)
        asked = count > 0
        by_query = np.divide(np.where(there, own, 0.0).sum(axis=1), count, where=asked, out=np.zeros(len(own)))
        if k:
            for line, weights in ((queries, asked), (scored, count), (unscored, own.shape[1] - count)):
                line[i, 1:] = np.bincount(subset, weights, minlength=k)[order]
                line[i, 0] = line[i, 1:].sum()
            sums = np.bincount(subset, by_query, minlength=k)[order]
            with np.errstate(invalid="ignore", divide="ignore"):
                rates[i, 1:-1] = sums / queries[i, 1:]
                rates[i, 0] = by_query.sum() / queries[i, 0]
                rates[i, -1] = rates[i, 1:-1].mean() if k else math.nan
                sizes[i, -1] = k**2 / (1 / queries[i, 1:]).sum() if k else 0
    sizes[:, :-1] = queries
    low, high = wilson(rates, sizes, alpha)

    def rate(i: int, j: int) -> Rate:
        at = 0 if j == k + 1 else j
        counts = (int(line[i, at]) for line in (queries, scored, unscored))
        return Rate(float(rates[i, j]), float(low[i, j]), float(high[i, j]), *counts)

    return [
        ArmRates(rate(i, 0), {str(names[at]): rate(i, j) for j, at in enumerate(order, 1)}, rate(i, k + 1))
        for i in range(len(arms))
    ]


def run_rates(matrix: pd.DataFrame) -> dict[str, float]:
    """Each run's own rate over the queries it was scored on."""
    values = matrix.to_numpy(dtype=float)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = _mean(values.T) if values.size else np.full(len(matrix.columns), np.nan)
    return dict(zip(matrix.columns, found.tolist(), strict=True))


def wilson(rates: Array, sizes: Array, alpha: float) -> tuple[Array, Array]:
    """`statistics.wilson` of many rates at once; NaN where there is none."""
    z = float(-special.ndtri(alpha / 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (rates + z**2 / (2 * sizes)) / (1 + z**2 / sizes)
        half = z / (1 + z**2 / sizes) * np.sqrt(rates * (1 - rates) / sizes + z**2 / (4 * sizes**2))
    low = np.where(rates <= 0, 0.0, np.maximum(0.0, centre - half))
    high = np.where(rates >= 1, 1.0, np.minimum(1.0, centre + half))
    undefined = np.isnan(rates) | (sizes == 0)
    return np.where(undefined, np.nan, low), np.where(undefined, np.nan, high)


def runs_of(outcomes: pd.DataFrame, trials: pd.DataFrame) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """The matrix of passes and what is known of each run. Raises DataError for tables that break their contract."""
    if outcomes.empty or not {"fingerprint", *QUERY} <= set(outcomes.columns):
        return pass_matrix(trials, outcomes), {}
    if outcomes[["fingerprint", *QUERY]].isna().to_numpy().any():
        return pass_matrix(trials, outcomes), {}
    tally = Tally(outcomes)
    return tally.matrix(trials), tally.by_run()
