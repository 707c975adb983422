"""A plan: the trials of a sweep with fingerprint, size, engine and cost, and the problems that prevent the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from sweeper.config import DATA_AXES, EvaluationSpec, Sweep, TrialSpec
from sweeper.planning.cost_model import PlanEstimate, TrialEstimate
from sweeper.planning.engine_selection import MemoryFit, build_engine_columns
from sweeper.search import Proposal
from sweeper.storage import JsonObject

Role = Literal["", "explore", "anchor", "confirm"]
"""What a trial is for in a search; empty for a trial of the axes."""


@dataclass(frozen=True)
class PlannedTrial:
    """One trial of a plan.

    Steps and FLOPs are None if the data are not prepared, or if the FLOPs of the model are unknown. Those of a branch
    count what it does after its branch point; `shared_steps` and `shared_train_flops` count what its trunk does.
    """

    fingerprint: str
    """The trial's identity; empty if its data or weights are missing."""
    spec: TrialSpec
    parameters: int | None = field(compare=False)
    """Parameters of the model, with the configured vocabulary until the data are prepared; None if its config cannot be
    read."""
    data_fingerprint: str
    """Fingerprint of its tokens; empty if unknown."""
    memory_fit: MemoryFit | None = field(default=None, compare=False)
    trainable_parameters: int | None = field(default=None, compare=False)
    """Those that its recipe trains."""
    # The fields below are known only once the data are prepared: they do not take part in comparisons.
    planned_steps: int | None = field(default=None, compare=False)
    """Optimizer steps."""
    planned_train_flops: float | None = field(default=None, compare=False)
    """FLOPs of all forward and backward passes."""
    shared_steps: int | None = field(default=None, compare=False)
    shared_train_flops: float | None = field(default=None, compare=False)
    estimate: TrialEstimate | None = field(default=None, compare=False)
    role: Role = field(default="", compare=False)
    proposal: Proposal | None = field(default=None, compare=False)
    """In a search: the proposal that the trial tries or confirms."""
    evaluation: EvaluationSpec | None = field(default=None, compare=False)
    """The suite that it is evaluated on; validation queries at most while a search explores."""

    @property
    def may_be_pruned(self) -> bool:
        """Whether an early stop is final: the trial's own search stopped it, not the search of another sweep."""
        return self.role == "explore" and self.proposal is not None and self.proposal.is_stopped

    @property
    def is_multi_worker(self) -> bool:
        """Whether worker processes train it, beside the process that drives it."""
        return self.spec.engine is not None and self.spec.engine.distributed

    @property
    def key(self) -> str:
        """A key that is equal for equal trials, also while their fingerprints are unknown."""
        spec = self.spec
        return self.fingerprint or repr((spec.model.name, spec.data, spec.recipe, spec.seed, spec.branch))

    def to_row(self) -> JsonObject:
        """Return the trial as `plan --json` prints it."""
        recipe = self.spec.recipe.model_dump() | {axis: getattr(self.spec.data, axis) for axis in DATA_AXES}
        columns: JsonObject = {
            "fingerprint": self.fingerprint,
            "model": self.spec.model.name,
            "parameters": self.parameters,
            # Not `train_flops`: that is a measured metric of the record, and both appear in one table.
            "planned_steps": self.planned_steps,
            "planned_train_flops": self.planned_train_flops,
            **({"trunk": self.spec.branch.trunk, "shared_steps": self.shared_steps} if self.spec.branch else {}),
            "seed": self.spec.seed,
            **({"role": self.role, "proposal": self.proposal.key} if self.proposal else {}),
            **build_engine_columns(self.spec, self.memory_fit),
            **(self.estimate.to_row() if self.estimate else {}),
        }
        if twice := columns.keys() & recipe.keys():
            raise AssertionError(f"a recipe field has the name of a column of the plan: {sorted(twice)}")
        return columns | recipe


@dataclass(frozen=True)
class BranchingSavings:
    """What branched epochs save compared with training every arm by itself; NaN if the data are not prepared."""

    trunks: int
    branches: int
    saved_steps: float
    """Optimizer steps that the branches take over from their trunks."""
    saved_flops: float
    """FLOPs (forward and backward) of those steps."""
    steps: float
    """Optimizer steps that remain."""

    @property
    def saved_share(self) -> float:
        """Share of all optimizer steps that is saved."""
        return self.saved_steps / (self.saved_steps + self.steps)

    def to_document(self) -> JsonObject:
        """Return the savings as `plan --json` prints them."""
        return {
            "trunks": self.trunks,
            "branches": self.branches,
            "saved_steps": self.saved_steps,
            "saved_flops": self.saved_flops,
            "steps": self.steps,
            "saved_share": self.saved_share,
        }


@dataclass(frozen=True)
class Plan:
    """All trials of a sweep, in the order of its axes. A study whose plan has problems does not start."""

    sweep: Sweep
    trials: tuple[PlannedTrial, ...]
    problems: tuple[str, ...]
    """What prevents the run, one sentence each."""
    parts: tuple[Plan, ...] = ()
    """Of a union: the plans of its sweeps. Equal trials of several parts are one trial of the union."""
    estimate: PlanEstimate | None = field(default=None, compare=False)
    """Estimated cost (`sweeper.planning.estimate.estimate_plan`); None if it was not computed."""
    placeholders: tuple[PlannedTrial, ...] = ()
    """Randomly drawn trials in place of those that a search has still to propose: they make its cost predictable."""

    @property
    def requested(self) -> int:
        """Number of trials of all parts together; the excess over `trials` is shared."""
        return sum(len(part.trials) for part in self.parts) if self.parts else len(self.trials)

    @property
    def pending_search_trials(self) -> dict[str, int]:
        """Numbers of trials that a search has still to propose (`explore`) and to confirm (`confirm`)."""
        confirming = sum(trial.role == "confirm" for trial in self.placeholders)
        return {"explore": len(self.placeholders) - confirming, "confirm": confirming}

    @property
    def varying_axes(self) -> list[str]:
        """Axes with several values, except model and seed."""
        listed = [a for a, values in self.sweep.axes.items() if len(values) > 1 and a not in ("model", "seed")]
        return [*listed, *self.sweep.searched]

    @property
    def branching_savings(self) -> BranchingSavings | None:
        """What branched epochs save; None without branches."""
        arms = [trial for trial in self.trials if trial.spec.branch is not None and trial.spec.branch.step is None]
        if not arms:
            return None
        return BranchingSavings(
            trunks=len({arm.spec.branch.trunk for arm in arms if arm.spec.branch}),
            branches=len(arms),
            saved_steps=sum(_value_or_nan(trial.shared_steps) for trial in arms),
            saved_flops=sum(_value_or_nan(trial.shared_train_flops) for trial in arms),
            steps=sum(_value_or_nan(trial.planned_steps) for trial in self.trials),
        )

    def to_document(self) -> JsonObject:
        """Return the document of `plan --json`."""
        savings = self.branching_savings
        parts = [part.to_part_row(self) for part in self.parts]
        return {
            "sweep": self.sweep.name,
            "question": self.sweep.question,
            "claims": [claim.model_dump(mode="json") for claim in self.sweep.claims],
            **({"branching": savings.to_document()} if savings else {}),
            **({"parts": parts, "asked": self.requested} if self.parts else {}),
            **(self.estimate.to_document() if self.estimate else {}),
            **({"to_come": self.pending_search_trials} if self.placeholders else {}),
            "trials": [trial.to_row() for trial in self.trials],
            "problems": list(self.problems),
        }

    def to_part_row(self, union: Plan) -> JsonObject:
        """Return this plan as a part of a union, with the number of trials that it shares with other parts."""
        others = {trial.key for part in union.parts if part is not self for trial in part.trials}
        return {
            "sweep": self.sweep.name,
            "question": self.sweep.question,
            "trials": len(self.trials),
            "shared": sum(trial.key in others for trial in self.trials),
            "fingerprints": [trial.fingerprint for trial in self.trials],
        }


def _value_or_nan(value: float | None) -> float:
    return math.nan if value is None else value
