"""A claim: a statement registered before the run, one file of `configs/claims/`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Set
from typing import Annotated, Any, Literal, Protocol, assert_never

from pydantic import Field, FiniteFloat, ValidationInfo, field_validator

from sweeper.config.base import Choice, FrozenConfig
from sweeper.config.data import DATA_AXES
from sweeper.config.look_levels import MIN_LEVEL, spend_alpha
from sweeper.config.recipe import Recipe
from sweeper.registry import Registry


class ClaimKindRules(Protocol):
    """What a configuration checks by the kind of a claim. `sweeper.claims.kinds` defines the kinds."""

    metrics: tuple[str, ...]
    required_fields: frozenset[str]
    optional_fields: frozenset[str]

    def check_field(self, name: str, value: object, fields: Mapping[str, object]) -> None:
        """Raise ValueError for a value that this kind cannot have."""

    def needs_evaluation(self, claim: Claim) -> bool:
        """Return whether the claim needs evaluated trials."""

    def list_missing_arms(self, claim: Claim, axes: Mapping[str, object]) -> Iterable[tuple[str, str]]:
        """Return (what the claim needs, what the sweep has) for every arm that the sweep lacks."""


CLAIM_KINDS: Registry[ClaimKindRules] = Registry("claim kind", "claims/kinds", "KIND")
PROTOCOL_FIELDS: dict[str, tuple[set[str], set[str]]] = {
    "identical": (set(), set()),
    "tuned": ({"tuned_axis", "selection_seeds"}, {"confirmation_seeds"}),
    "equal-compute": (set(), {"compute_axis", "train_flops"}),
    "searched": (set(), set()),
}
"""Protocol of a claim -> its required and its optional fields."""


LOSS_METRICS = ("val_loss", "gold_nll")
"""Metrics of which a run has one number, and less is better."""


class CollapseRule(FrozenConfig):
    """What counts as a collapsed run, besides one that diverged: a rule on the loss, which cannot be chosen by the pass
    rates."""

    metric: Literal["val_loss", "train_loss"] = "val_loss"
    """The loss, in nats per target token: on the validation split, or the last one logged in training."""
    above: FiniteFloat = Field(gt=0)
    """A finished run with a larger loss has collapsed."""


class Claim(FrozenConfig):
    """A statement registered before the run, with its test. Its kind and protocol decide which fields are required;
    any other field is an error."""

    id: str = Field(min_length=1)
    """Name of the claim in reports."""
    text: str = Field(min_length=1)
    """The claim in one sentence. `{candidate}`, `{against}`, `{axis}`, `{reference}`, `{direction}`, `{reading}`,
    `{margin}` and `{kind}` stand for its own fields. A claim that extends another and changes one of these fields gives
    a text of its own, unless the other's names the field."""
    kind: Annotated[str, Choice(CLAIM_KINDS)]
    """What is claimed: one file of `sweeper/claims/kinds/`, described in docs/claims.md."""
    metric: str = Field(default="pass_rate", validate_default=True)
    """What is tested, as the kind requires: `divergence_rate` (share of runs) for `stabilises`, `agreement` (Gwet's
    AC1) for `judge-independent`, `cost_per_solved` (a ratio) for `cheaper`, `pass_rate` (a rate, 0 to 1) otherwise.
    `best-of`, `no-gain-beyond`, `reaches` and `predicts` also take losses, in nats per target token: `val_loss`, and
    `gold_nll` of the test queries' gold answers (`gold` of the evaluation)."""
    axis: str | None = Field(default=None, validate_default=True)
    """The axis whose arms are compared: `model`, a field of the recipe, or the data's `fit` or `max_length`."""
    candidate: str | FiniteFloat | None = Field(default=None, validate_default=True)
    """The arm the claim is about: a value of that axis."""
    against: list[str | FiniteFloat | None] = Field(default_factory=list, validate_default=True)
    """The values it is compared with (`null`: clipping off). `cheaper` takes exactly one; without any, `stabilises`
    takes all others of the axis. The other kinds compare with the whole axis."""
    reference: FiniteFloat | None = Field(default=None, gt=0, validate_default=True)
    """The number claimed. `reaches`: a pass rate, 0 to 1. `judge-independent`: the AC1 to exceed, below 1. `cheaper`:
    the ratio of costs to stay below (1: merely cheaper; 0.5: at most half)."""
    direction: Literal["at-least", "at-most", "about"] | None = Field(default=None, validate_default=True)
    """`reaches`: the claimed side of the reference. `generalises`: `at-least`, unseen falls short of seen by less than
    the margin; `about`, they differ by less than it. The other kinds imply their direction."""
    reading: Literal["beats-smaller", "interior", "smallest-non-inferior"] = Field(
        default="beats-smaller", validate_default=True
    )
    """Meaning of "best" for `best-of`; the report also shows the others. `beats-smaller`: superior to every smaller
    arm, and no larger one better by the margin. `interior`: superior to both neighbors on the axis.
    `smallest-non-inferior`: no arm better by the margin, and every smaller arm worse by more than the margin."""
    margin: FiniteFloat = Field(gt=0, lt=1)
    """Difference, as a rate or in nats, below which two values count as equal. `stabilises`: of divergence rates.
    `cheaper`: of pass rates. `judge-independent`: of the pass rate under two judges."""
    alpha: FiniteFloat = Field(default=0.05, ge=1e-6, lt=1)
    """Error level of each comparison."""
    assumed_discordance: FiniteFloat = Field(default=0.2, gt=0, lt=1)
    """For planning: share of queries on which two equally good runs differ."""
    assumed_seed_sd: FiniteFloat = Field(default=0.02, ge=0, lt=1)
    """For planning: standard deviation over seeds of a run's pass rate, as a rate."""
    seeds: Literal["independent", "matched"] | None = Field(default=None, validate_default=True)
    """Whether the compared arms share what a seed decides. `independent`: each arm has its own variance over seeds;
    `matched`: runs of one seed are paired. `null`: independent for models, whose sizes share nothing, and matched for
    other axes, whose runs of one seed share initialization and order of the data."""
    seed_sd_ratio: FiniteFloat = Field(default=3.0, ge=1, le=1000, validate_default=True)
    """For independent seeds: largest ratio of the two arms' standard deviations over seeds that intervals allow for. A
    larger one is safer and wider. The report has the observed ratio, and the interval without this assumption."""
    estimand: Literal["mean", "trained-runs"] = Field(default="mean", validate_default=True)
    """The runs that a difference in pass rates is about. `mean`: all, a diverged one passing nothing. `trained-runs`:
    those that did not collapse. The report has both."""
    collapse: CollapseRule | None = Field(default=None, validate_default=True)
    """Which runs count as collapsed; `null`: those that diverged."""
    looks: list[int] = Field(default_factory=list, validate_default=True)
    """Numbers of seeds, ascending, at which the verdict is looked at: `[3, 6, 10]`. The first look that decides it
    counts, and seeds between looks are not used. Empty: looked at once, on all seeds."""
    spend: Literal["obrien-fleming"] | list[FiniteFloat] = Field(default="obrien-fleming", validate_default=True)
    """How `alpha` is spread over the looks: by O'Brien and Fleming's rule, which spends little on early looks, or one
    level per look, which sum to `alpha`."""
    clusters: Literal["tool", "category", "none"] = Field(default="tool", validate_default=True)
    """`generalises`: queries about one tool, or of one category of tools, are not independent, and count together in
    the interval. `none`: every query by itself, which covers too little where tools differ."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Fixed values of other axes; axes not named here are matched between the compared arms. `reaches` and
    `generalises` are about one arm: they name a value of every axis that varies, except the seed."""
    overfitting: bool = Field(default=False, validate_default=True)
    """`no-gain-beyond`: also report whether the validation loss (nats per target token) rises beyond the candidate. It
    does not decide the claim."""
    spread_of: Literal["pass_rate", "val_loss"] = Field(default="pass_rate", validate_default=True)
    """`stabilises`: the quantity whose spread over finished runs is reported beside the divergence rates. It does not
    decide the claim."""
    predictor: Literal["val_loss", "gold_nll"] = Field(default="val_loss", validate_default=True)
    """`predicts`: the loss that a pass rate is predicted from. A law gives the loss of the candidate from those of the
    smaller models, and a sigmoid its pass rate from that loss."""
    price_per_hour: dict[str, FiniteFloat] = Field(default_factory=dict, validate_default=True)
    """`cheaper`: arm -> price per hour of the resources of one of its runs, in any currency. Without it, cost is time,
    which is comparable only between arms on the same hardware."""
    amortised_over: int | None = Field(default=None, gt=0, validate_default=True)
    """`cheaper`: number of queries over which the cost of a training run is spread; `null`: those of the suite."""
    protocol: Literal["identical", "tuned", "equal-compute", "searched"] = Field(
        default="identical", validate_default=True
    )
    """How arms of `best-of` and `cheaper` are made comparable. `identical`: the same hyperparameters. `tuned`: each arm
    at its own value of `tuned_axis`, chosen by validation loss on `selection_seeds` among equally many values, and
    compared on other seeds only. `equal-compute`: each arm's run at a common number of training FLOPs, within 5 %.
    `searched`: each model with the best values of a search with `equal_per: model`, on the confirmation seeds."""
    tuned_axis: str | None = Field(default=None, validate_default=True)
    """`tuned`: the axis from which each arm gets its own value."""
    selection_seeds: list[int] = Field(default_factory=list, validate_default=True)
    """`tuned`: seeds on which values are chosen; never used to compare."""
    confirmation_seeds: list[int] = Field(default_factory=list, validate_default=True)
    """`tuned`: seeds on which arms are compared; without any, all others of the sweep."""
    compute_axis: str = Field(default="num_train_epochs", validate_default=True)
    """`equal-compute`: the axis along which training length varies."""
    train_flops: FiniteFloat | None = Field(default=None, gt=0, validate_default=True)
    """`equal-compute`: the common budget, FLOPs of one training run; `null`: that of the candidate's run that the other
    arms come closest to."""

    @property
    def sd_ratio(self) -> float | None:
        """`seed_sd_ratio` if the compared arms have independent seeds, else None."""
        match self.seeds:
            case "independent":
                return self.seed_sd_ratio
            case "matched":
                return None
            case None:
                return self.seed_sd_ratio if self.axis == "model" else None
            case _:
                assert_never(self.seeds)

    @property
    def is_about_loss(self) -> bool:
        """Whether the metric is a loss."""
        return self.metric in LOSS_METRICS

    @property
    def look_levels(self) -> list[float]:
        """The two-sided level of each look."""
        return spend_alpha(self.alpha, self.looks, self.spend) if self.looks else []

    @field_validator(
        *("metric", "axis", "candidate", "against", "reference", "direction", "reading", "overfitting", "spread_of"),
        *("price_per_hour", "amortised_over", "protocol", "seeds", "seed_sd_ratio", "estimand", "collapse"),
        *("looks", "spend", "clusters", "predictor"),
    )
    @classmethod
    def _check_kind_field(cls, value: Any, info: ValidationInfo) -> Any:
        name, fields = str(info.field_name), info.data
        if "kind" not in fields:
            return value
        kind, choice = CLAIM_KINDS.load(fields["kind"]), f"kind: {fields['kind']}"
        if name == "metric":
            if value not in kind.metrics:
                raise ValueError(f"`{choice}` needs " + " or ".join(f"`metric: {name}`" for name in kind.metrics))
            return value
        is_given = value != cls.model_fields[name].get_default(call_default_factory=True)
        _check_field_allowed(choice, name, is_given, kind.required_fields, kind.optional_fields)
        if name == "axis" and value is not None and value not in ("model", *Recipe.model_fields, *DATA_AXES):
            raise ValueError("not an axis: `model`, a field of the recipe, `fit` or `max_length`")
        if name == "candidate" and (value is None) != (fields.get("axis") is None):
            raise ValueError("`axis` and `candidate` name an arm together")
        if name == "against" and fields.get("candidate") is not None and fields["candidate"] in value:
            raise ValueError("the candidate cannot be compared with itself")
        if name == "protocol" and value != "identical" and fields.get("looks"):
            raise ValueError("a claim with `looks` needs `protocol: identical`")
        kind.check_field(name, value, fields)
        return value

    @field_validator("looks")
    @classmethod
    def _check_looks(cls, value: list[int]) -> list[int]:
        if value and (len(value) < 2 or value[0] < 2 or any(b <= a for a, b in itertools.pairwise(value))):
            raise ValueError("should be two or more numbers of seeds, ascending, the first at least 2")
        return value

    @field_validator("spend")
    @classmethod
    def _check_spend(cls, value: Any, info: ValidationInfo) -> Any:
        looks, alpha = info.data.get("looks"), info.data.get("alpha")
        if looks is None or alpha is None:
            return value
        if isinstance(value, list) and (len(value) != len(looks) or abs(sum(value) - alpha) > 1e-9):
            raise ValueError(f"should be one level per look, {len(looks)}, with the sum {alpha:g}")
        if looks and (least := min(spend_alpha(alpha, looks, value))) < MIN_LEVEL:
            raise ValueError(
                f"leaves a look a level of {least:.1g}, below {MIN_LEVEL:g}: look later, or list the levels"
            )
        return value

    @field_validator("margin")
    @classmethod
    def _check_margin(cls, value: float, info: ValidationInfo) -> float:
        if "kind" in info.data:
            CLAIM_KINDS.load(info.data["kind"]).check_field("margin", value, info.data)
        return value

    @field_validator("tuned_axis", "selection_seeds", "confirmation_seeds", "compute_axis", "train_flops")
    @classmethod
    def _check_protocol_field(cls, value: Any, info: ValidationInfo) -> Any:
        protocol, name = info.data.get("protocol"), str(info.field_name)
        if protocol is None:
            return value
        given = value != cls.model_fields[name].get_default(call_default_factory=True)
        _check_field_allowed(f"protocol: {protocol}", name, given, *PROTOCOL_FIELDS[protocol])
        free = {"tuned": "tuned_axis", "equal-compute": "compute_axis"}.get(protocol)
        if name == free and value == info.data.get("axis"):
            raise ValueError("this axis is compared, so no value of it can be chosen")
        both = set(value) & set(info.data.get("selection_seeds", ())) if name == "confirmation_seeds" else set()
        if both:
            raise ValueError(f"seeds {sorted(both)} are also selection seeds: what chose an arm cannot confirm it")
        return value


def _check_field_allowed(
    choice: str, name: str, is_given: bool, required_fields: Set[str], optional_fields: Set[str]
) -> None:
    if name in required_fields and not is_given:
        raise ValueError(f"`{choice}` needs `{name}`")
    if is_given and name not in required_fields | optional_fields:
        takes = ", ".join(f"`{field}`" for field in sorted(required_fields | optional_fields))
        raise ValueError(f"`{choice}` does not take `{name}`" + (f"; it takes {takes}" if takes else ""))
