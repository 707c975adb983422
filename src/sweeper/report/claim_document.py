"""The claims of the report's document: their parts and types."""

from __future__ import annotations

from typing import Literal, TypeAlias, TypedDict

AxisValue: TypeAlias = str | float | None
Number: TypeAlias = float | None
Range: TypeAlias = list[Number]
"""Lower and upper end."""


class ShownEntry(TypedDict):
    """Numbers of a comparison as text."""

    estimate: str
    interval: list[str]


class ComparisonEntry(TypedDict):
    """One comparison of a claim."""

    test: str
    metric: str
    unit: str
    first: AxisValue
    second: AxisValue
    names: list[str]
    sentence: str | None
    result: str
    """`shown`, `contradicted` or `open`: see `RESULT_LABELS`."""
    wanted: str
    estimate: Number
    interval: Range
    level: float
    """Two-sided, of that interval: of the look that settled the comparison."""
    shown: ShownEntry
    margin: Number
    p: Number
    n: int
    n_queries: int
    n_seeds: int
    excluded: dict[str, int]
    method: str


class SensitivityEntry(TypedDict):
    """A claim's verdict under one other choice of the analysis."""

    name: str
    verdict: str | None
    comparison: str | None
    """The comparison whose numbers these are: the claim's binding one, in every analysis."""
    estimate: Number
    interval: Range
    n_queries: int
    reason: str


class InterpretationEntry(TypedDict):
    """A claim's verdict under another reading of its text."""

    name: str
    text: str
    verdict: str
    reason: str


class NeededEntry(TypedDict):
    """Seeds or queries that would settle a claim."""

    seeds: int | None
    more_seeds: int | None
    queries: int | None
    more_queries: int | None
    reason: str


class ChoiceEntry(TypedDict):
    """The value of the free axis that an arm was given."""

    arm: AxisValue
    axis: str
    value: AxisValue
    score: Number
    tried: int


class RegistrationEntry(TypedDict):
    """When a claim was registered. `label`: what differs from a claim that stood before the first result."""

    label: str
    registered: str | None
    sha256: str | None


class AssumptionEntry(TypedDict):
    """What a claim's interval assumes about the arms' seeds, in one sentence, and what was observed."""

    assumption: str | None
    observed_sd_ratio: Number
    interval_without_assumption: Range


class LookEntry(TypedDict):
    """The registered look at which a claim was decided."""

    number: int
    """From 1."""
    of: int
    seeds: int
    level: float
    """Two-sided, of the interval."""
    sentence: str


class LooksEntry(TypedDict):
    """How often a claim was looked at, each look by its number of seeds."""

    look: LookEntry | None
    looks_registered: list[int]
    looks_taken: list[int]
    """Those that reports and runs recorded, this report included."""
    unregistered_looks: str
    """What looks that the claim did not register mean; empty without any."""


class CollapseEntry(TypedDict):
    """How many finished runs of a claim collapsed, and its numbers with the other estimand."""

    runs: int
    of: int
    upper_bound: Number
    """Of the collapse rate, one-sided."""
    confidence: float
    """Of that bound."""
    rule: str
    tolerated_rate: Number
    """Largest simulated collapse rate at which the interval of the mean over all runs holds its level."""
    rates_tried: list[float]
    other_estimand: str
    other_verdict: str
    other_estimate: Number
    other_interval: Range
    sentence: str


class BracketEntry(TypedDict):
    """Where the best arm of an ordered axis lies, if there is one peak."""

    arms: list[AxisValue]
    """Those that may be best."""
    below: AxisValue
    """The largest arm that a larger one beats; None without one."""
    above: AxisValue
    """The smallest arm that a smaller one beats."""
    two_sided: bool
    sentence: str


class ProbabilityEntry(TypedDict):
    """Probabilities that the candidate is better, equal within the margin, or worse."""

    better: float
    equal: float
    worse: float
    prior: str
    sentence: str


class ClaimEntry(AssumptionEntry, LooksEntry):
    """A claim with its verdict and evidence."""

    id: str
    text: str
    kind: str
    metric: str
    protocol: str
    verdict: str
    """As it holds over all claims of the report."""
    own_verdict: Literal["supported", "refuted", "inconclusive"]
    """Of the claim alone."""
    sentence: str
    estimate: Number
    interval: Range
    unit: str | None
    alpha: float
    levels: dict[str, float]
    """Largest probability of a false verdict where the truth lies at the claim's limit: `supported`, `refuted`."""
    p: Number
    p_adjusted: Number
    p_refuted: Number
    p_refuted_adjusted: Number
    family: bool | None
    """Whether the claim's own verdict stands over all claims."""
    estimand: str | None
    collapsed: CollapseEntry | None
    probability: ProbabilityEntry | None
    bracket: BracketEntry | None
    n: int
    n_queries: int
    n_seeds: int
    excluded: dict[str, int]
    incomplete: list[str]
    components: list[ComparisonEntry]
    beside: list[ComparisonEntry]
    reading: str | None
    readings: list[InterpretationEntry]
    choices: list[ChoiceEntry]
    by_judge: dict[str, dict[str, str]] | None
    sensitivity: list[SensitivityEntry]
    needed: NeededEntry | None
    reason: str
    registration: RegistrationEntry


RESULT_LABELS = {"shown": "established", "contradicted": "contradicted", "open": "inconclusive"}
"""Result of a comparison in the document -> the word that readers see."""
