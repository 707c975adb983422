"""The verdict on a claim, with the evidence for it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sweeper.claims.bracket import Bracket
from sweeper.claims.collapse import CollapsedRuns
from sweeper.claims.comparison import Comparison
from sweeper.claims.kinds.base import LabelsByJudge, VerdictLabel
from sweeper.claims.looks import Look
from sweeper.claims.protocols import AxisChoice
from sweeper.claims.sample_size import RequiredSampleSize
from sweeper.statistics.intervals import Interval
from sweeper.statistics.paired import Exclusions


@dataclass(frozen=True)
class Interpretation:
    """The verdict under another interpretation of the claim."""

    name: str
    text: str
    verdict: VerdictLabel
    reason: str


@dataclass(frozen=True)
class RobustnessCheck:
    """The verdict on a variant of the outcomes."""

    name: str
    label: VerdictLabel | None
    """None where the data do not allow the variant; `reason` says why."""
    estimate: float
    """Of the claim's binding comparison, like `interval`: the same comparison in every variant."""
    interval: Interval
    n_queries: int
    reason: str


@dataclass(frozen=True)
class EstimandResult:
    """The verdict on the estimand that the claim is not about. Its numbers are those of the binding comparison."""

    estimand: str
    label: VerdictLabel
    estimate: float
    interval: Interval


@dataclass(frozen=True)
class Verdict:
    """The result of a claim.

    `estimate`, `interval` and the counts are those of the binding comparison: the one closest to failing when the claim
    is supported, the most violated when it is refuted, the furthest from established otherwise.
    """

    claim_id: str
    text: str
    kind: str
    metric: str
    protocol: str
    label: VerdictLabel
    own_label: VerdictLabel
    """The verdict of the claim alone, before the correction over all claims of the report."""
    reason: str
    alpha: float
    estimate: float
    interval: Interval
    n: int
    n_queries: int
    n_seeds: int
    comparisons: tuple[Comparison, ...]
    binding_comparison: Comparison | None
    exclusions: Exclusions
    incomplete_runs: tuple[str, ...]
    estimand: str | None = None
    """None for a kind that is not about pass rates of runs."""
    collapsed: CollapsedRuns | None = None
    other_estimand: EstimandResult | None = None
    tolerated_collapse_rate: float = math.nan
    """Largest simulated collapse rate at which the interval of a mean over all runs holds its level; NaN for another
    estimand."""
    bracket: Bracket | None = None
    """Where the best arm lies; None for a claim that is not about it, and with one seed."""
    choices: tuple[AxisChoice, ...] = ()
    """What the protocol assigned to each arm."""
    interpretation: str = ""
    """The interpretation that the verdict uses, where the kind has several."""
    other_interpretations: tuple[Interpretation, ...] = ()
    robustness_checks: tuple[RobustnessCheck, ...] = ()
    labels_by_judge: LabelsByJudge | None = None
    """Judge -> claim -> its verdict under that judge alone, for a claim about the judges."""
    required_sample_size: RequiredSampleSize | None = None
    """What would settle it; None unless it is inconclusive."""
    look: Look | None = None
    """The registered look that it was decided at; None for a claim without looks."""
    p: float = math.nan
    """Smallest two-sided level at which all comparisons would be established, the largest of theirs: at most alpha
    wherever the claim is supported. NaN where it is not decidable. Of a look: divided by the share of alpha that it may
    spend."""
    p_adjusted: float = math.nan
    """Holm-adjusted over all claims of the report; a claim that is not decidable counts as 1."""
    p_refuted: float = math.nan
    """Probability, at most, of so strong a contradiction of a true claim: one-sided, over all comparisons."""
    p_refuted_adjusted: float = math.nan
    holds_in_family: bool | None = None
    """Whether `own_label`, supported or refuted, stands at alpha over all claims of the report; None where it was
    decided alone."""

    @property
    def is_decidable(self) -> bool:
        """Whether the data allow any verdict."""
        return not math.isnan(self.p)
