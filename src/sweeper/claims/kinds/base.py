"""The base of every claim kind. A kind is one file of this folder that defines `KIND`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from sweeper.claims.comparison import Comparison
from sweeper.config.claim import LOSS_METRICS
from sweeper.registry import Registry

if TYPE_CHECKING:
    import pandas as pd

    from sweeper.claims.bracket import Bracket
    from sweeper.claims.planned_power import ClaimDesign, ClaimPower
    from sweeper.claims.simulated_power import AssumedTruth
    from sweeper.claims.tables import ClaimTables
    from sweeper.config import Claim

VerdictLabel = Literal["supported", "refuted", "inconclusive"]
LabelsByJudge = Mapping[str, Mapping[str, VerdictLabel]]
"""Judge -> claim id -> the verdict under that judge alone."""
ARM_FIELDS = frozenset({"axis", "candidate"})
"""Fields of a claim that name an arm."""
SEED_FIELDS = frozenset({"seeds", "seed_sd_ratio"})
"""Fields of a claim that compares arms."""
ESTIMAND_FIELDS = frozenset({"estimand", "collapse"})
"""Fields of a claim about pass rates of runs that may collapse."""
LOOK_FIELDS = frozenset({"looks", "spend"})
"""Fields of a claim that can be decided before all seeds are trained."""
PASS_RATE_OR_LOSS = ("pass_rate", *LOSS_METRICS)
"""Metrics of kinds that compare arms by one number."""


@dataclass(frozen=True)
class ComparisonSet:
    """The comparisons that a claim rests on."""

    comparisons: tuple[Comparison, ...]
    problem: str
    """What is missing for a decision; '' for nothing."""
    required_rows: pd.DataFrame
    """Planned runs that need a result."""
    note: str = ""
    """What a reader should know."""
    needs_outcomes: bool = True
    """Whether those runs need outcomes."""
    bracket: Bracket | None = None
    """Where the best arm of an ordered axis lies; None for a claim that is not about it."""


class ClaimKind(ABC):
    """A kind of claim.

    Example of a further kind, `kinds/worse_than.py`:

        class WorseThan(ClaimKind):
            required_fields = ARM_FIELDS | {"against"}

            def build_comparisons(self, claim, tables): ...
            def estimate_power(self, claim, design): ...

        KIND = WorseThan()
    """

    metrics: ClassVar[tuple[str, ...]] = ("pass_rate",)
    """What a claim of this kind can name as its metric."""
    required_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that a claim of this kind needs, besides those of every claim."""
    optional_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields that it may have."""
    interpretations: ClassVar[Mapping[str, str]] = {}
    """Values of the claim's `reading`, in words; empty for a kind with one meaning."""
    rests_on_pass_rate: ClassVar[bool] = True
    """Whether other definitions of a pass, and other judges, can change its verdict."""
    can_simulate: ClassVar[bool] = False
    """Whether assumed true pass rates are all that a simulated study needs."""
    compares_judges: ClassVar[bool] = False
    """Whether it is about the judges, and so needs the outcomes of all of them."""

    def check_field(self, name: str, value: object, fields: Mapping[str, object]) -> None:
        """Check one field of a claim.

        Args:
            name: the field.
            fields: the fields before it.

        Raises:
            ValueError: a value that this kind cannot have.
        """
        return

    def needs_evaluation(self, claim: Claim) -> bool:
        """Return whether the claim needs evaluated trials."""
        return claim.metric != "val_loss"

    def list_missing_arms(self, claim: Claim, axes: Mapping[str, object]) -> Iterable[tuple[str, str]]:
        """Return (what the claim needs, what the sweep has) for every arm that the sweep lacks.

        Args:
            axes: axis -> its values; not a list for a searched axis.
        """
        if claim.axis is None:
            return
        values = axes[claim.axis]
        if isinstance(values, list) and not [value for value in values if value != claim.candidate]:
            yield f"arms besides {claim.axis} = {claim.candidate!r}", f"the axis has {values}"

    @abstractmethod
    def build_comparisons(self, claim: Claim, tables: ClaimTables) -> ComparisonSet:
        """Return the comparisons of a claim on its protocol's runs."""

    def build_interpretation(self, claim: Claim, tables: ClaimTables, interpretation: str) -> ComparisonSet:
        """Return the comparisons under another of `interpretations`."""
        return self.build_comparisons(claim.model_copy(update={"reading": interpretation}), tables)

    @abstractmethod
    def estimate_power(self, claim: Claim, design: ClaimDesign) -> ClaimPower:
        """Return what the design can establish before it is run."""

    def assume_truth(self, claim: Claim, design: ClaimDesign) -> AssumedTruth | None:
        """Return true pass rates under which the claim holds as clearly as its margin says, for its power.

        None where the claim rests on more than pass rates.
        """
        return None

    def combine_judge_labels(
        self, label: VerdictLabel, reason: str, labels_by_judge: LabelsByJudge
    ) -> tuple[VerdictLabel, str]:
        """Return the verdict and its reason, given the verdicts of the other claims under each judge."""
        raise NotImplementedError


CLAIM_KINDS: Registry[ClaimKind] = Registry("claim kind", "claims/kinds", "KIND")


def list_missing_values(claim: Claim, axes: Mapping[str, object]) -> Iterable[tuple[str, str]]:
    """Return the axes that vary although the claim is about one arm, as `ClaimKind.list_missing_arms` does."""
    fixed = {claim.axis, "seed", *claim.where}
    for axis, values in axes.items():
        if axis not in fixed and isinstance(values, list) and len(values) > 1:
            yield "one arm", f"the axis {axis} has {values}: name one of them in `where`"


def require_direction(claim: Claim) -> Literal["at-least", "at-most", "about"]:
    """Return the claim's direction.

    Raises:
        ValueError: a claim without one, which its configuration refuses.
    """
    if claim.direction is None:
        raise ValueError(f"claim {claim.id} has no direction")
    return claim.direction


def require_reference(claim: Claim) -> float:
    """Return the claim's reference.

    Raises:
        ValueError: a claim without one, which its configuration refuses.
    """
    if claim.reference is None:
        raise ValueError(f"claim {claim.id} has no reference")
    return float(claim.reference)
