"""Proposals of a search and what became of them, in Optuna's storage. Ray Tune's OptunaSearch draws them.

What the two get wrong together is put right here: an early stop is told as PRUNED, at the resource it reached, and
never as COMPLETE; rungs are in the resource that was spent and lie in the storage, where a restart finds them; the
anchor is stopped by nobody; a proposal whose driver died is handed out again, not drawn again.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.errors import UsageError
from sweeper.spec import SearchSpec, Sweep
from sweeper.spec.sweep import combinations
from sweeper.trial import COMPLETE, DIVERGED, PRUNED

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage

JOURNAL = "optuna.journal"
"""Optuna's journal file, in the study's folder."""
REDRAWS = 100
"""A proposal that was made before is drawn anew so often; then the space is taken to be exhausted."""


@dataclass(frozen=True)
class Proposal:
    """What a search proposes: values of the searched axes, and of `model`."""

    group: str
    """The model, where each has a search of its own; else empty."""
    number: int
    """Optuna's, within the group."""
    anchor: bool
    """The recipe as it stands: no scheduler stops it."""
    values: dict[str, Any] = field(compare=False)
    stopped: bool = field(default=False, compare=False)
    """A rung has ended it."""

    @property
    def key(self) -> str:
        """The only one of its study."""
        return f"{self.group}#{self.number}"


@dataclass(frozen=True)
class Entry:
    """A proposal in the history, and what became of it."""

    proposal: Proposal
    state: str
    """RUNNING, COMPLETE, PRUNED or FAIL, as Optuna has it; DUPLICATE for a draw that had been made before."""
    values: list[float] | None
    """Of each metric; of a pruned trial, its last loss at a rung."""
    rungs: dict[int, float]
    """Resource -> validation loss there."""
    fingerprint: str
    """Of its trial; empty where the driver died before it knew."""
    retry_of: int | None
    """The number of the failed one that it stands for."""


class Search:
    """The search of one sweep. Its storage may hold one that was broken off, which then goes on."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.sweep, self.search = sweep, asked_by(sweep)
        storage = storage_of(self.search, folder)
        self._of: dict[str, Any] = {}
        self._again: list[tuple[str, Any]] = []
        for group in groups_of(sweep):
            found = OptunaSearch(
                space=lambda trial, group=group: suggest(trial, sweep, group, self._reseed(group)),
                metric=self.search.metric,
                mode=_modes(self.search),
                sampler=optuna.samplers.RandomSampler(),  # each proposal gets one of its own
                study_name=study_name(sweep, group),
                storage=storage,
            )
            study = found._ot_study
            _same_question(study, sweep)
            study.pruner = pruner_of(self.search)
            for values, anchor in _first(sweep, group):
                study.enqueue_trial(values, user_attrs={"anchor": anchor}, skip_if_exists=True)
            running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
            self._again += [(group, optuna.trial.Trial(study, trial._trial_id)) for trial in running]
            self._of[group] = found

    def next(self) -> Proposal | None:
        """The next proposal: first those that were under way when a driver died; None when all were made."""
        if self._again:
            return self._proposed(*self._again.pop(0))
        counts = {group: self._made(group) for group in self._of}
        open_groups = [g for g in self._of if counts[g] < self._limit(g) and not self._drawn_out(g)]
        if not open_groups:
            return None
        group = min(open_groups, key=lambda group: counts[group])
        study = self._of[group]._ot_study
        study.sampler = sampler_of(self.search, self.sweep, group, len(study.get_trials(deepcopy=False)))
        return self._proposed(group, study.ask())

    def named(self, proposal: Proposal, fingerprint: str, first: str | None) -> None:
        """The trial that a proposal is. `first`: the key of an earlier proposal that was the same one; then this one
        is taken back, and does not count."""
        import optuna

        study, trial = self._trial(proposal)
        study._storage.set_trial_user_attr(trial._trial_id, "fingerprint", fingerprint)
        if first is not None:
            study._storage.set_trial_user_attr(trial._trial_id, "duplicate_of", first)
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)

    def decide(self, proposal: Proposal, resource: int, loss: float) -> bool:
        """Whether to stop a trial at a rung, by its validation loss there. Asked again, the answer is the same."""
        import optuna

        study, frozen = self._trial(proposal)
        said = frozen.user_attrs.get(f"stopped at {resource}")
        if said is not None or frozen.state.is_finished():
            return bool(said)
        trial = optuna.trial.Trial(study, frozen._trial_id)
        trial.report(_sign(self.search) * loss, resource)
        stop = bool(trial.should_prune()) and not proposal.anchor
        trial.set_user_attr(f"stopped at {resource}", stop)
        return stop

    def told(self, proposal: Proposal, row: Mapping[str, Any]) -> None:
        """What became of it: a row with `status` and `metrics`. A second telling of the same changes nothing; where a
        failed one was tried again, the new end is one more entry of the history, which says of which."""
        import optuna

        study, trial = self._trial(proposal)
        state, values = outcome_of(row, self.search)
        if not trial.state.is_finished():
            if row["status"] == DIVERGED and not values and not _two(self.search):
                # Below every one that was pruned as far on: a loss from before it blew up would say the opposite.
                step = max([0, *trial.intermediate_values])
                study._storage.set_trial_intermediate_value(trial._trial_id, step + 1, _worst(self.search))
            study._storage.set_trial_user_attr(trial._trial_id, "status", row["status"])
            study.tell(trial.number, values, state=state)
        elif trial.state == optuna.trial.TrialState.FAIL and state != optuna.trial.TrialState.FAIL:
            retried = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("retry_of") == trial.number]
            if retried:
                return
            seen = dict(trial.intermediate_values)
            if row["status"] == DIVERGED:
                seen[max([0, *seen]) + 1] = _worst(self.search)
            last = seen[max(seen)] if seen else _worst(self.search)
            study.add_trial(
                optuna.trial.create_trial(
                    state=state,
                    values=values or (None if _two(self.search) else [last]),
                    params=trial.params,
                    distributions=trial.distributions,
                    intermediate_values=None if _two(self.search) else seen,
                    user_attrs=trial.user_attrs | {"retry_of": trial.number, "status": row["status"]},
                )
            )

    def ping(self) -> None:
        """Returns once it is there: its constructor read the storage."""

    def _proposed(self, group: str, trial: optuna.trial.Trial) -> Proposal:
        key = f"{group}#{trial.number}"
        found = self._of[group]
        found._ot_trials[key] = trial
        # A driver may have died between two axes: those it had drawn are there, the others are drawn as they would be.
        found._ot_study.sampler = sampler_of(self.search, self.sweep, group, trial.number)
        _ = trial.relative_params  # drawn together, now: not with the stream of the first axis that is lacking
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Define-by-run function")  # a Gaussian process takes seconds
            values = found.suggest(key)
        attrs = trial.user_attrs
        return Proposal(
            group, trial.number, bool(attrs.get("anchor")), _axes(values, self.sweep, group), _stopped(attrs)
        )

    def _reseed(self, group: str) -> Callable[[Any, str], None]:
        """What is drawn by itself has a stream of its own: it does not hang on which axes a dead driver had drawn."""

        def before(trial: Any, axis: str) -> None:
            study = self._of[group]._ot_study
            study.sampler = sampler_of(self.search, self.sweep, f"{group} {axis}", trial.number)

        return before

    def _trial(self, proposal: Proposal) -> tuple[optuna.Study, optuna.trial.FrozenTrial]:
        study = self._of[proposal.group]._ot_study
        return study, study.get_trials(deepcopy=False)[proposal.number]

    def _made(self, group: str) -> int:
        """Proposals of a group that count."""
        import optuna

        trials = self._of[group]._ot_study.get_trials(deepcopy=False)
        attrs = [t.user_attrs for t in trials if t.state != optuna.trial.TrialState.WAITING]
        return sum("duplicate_of" not in a and "retry_of" not in a for a in attrs)

    def _drawn_out(self, group: str) -> bool:
        trials = self._of[group]._ot_study.get_trials(deepcopy=False)
        return _in_a_row("duplicate_of" in t.user_attrs for t in reversed(trials)) >= REDRAWS

    def _limit(self, group: str) -> int:
        return trials_planned(self.sweep) // len(self._of)


def history(sweep: Sweep, folder: Path) -> list[Entry]:
    """All proposals of a search so far, in the order in which they were made; empty before it starts."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = sweep.search
    if search is None or not _there(search, folder):
        return []
    storage = storage_of(search, folder)
    entries = []
    for group in groups_of(sweep):
        try:
            study = optuna.load_study(study_name=study_name(sweep, group), storage=storage)
        except KeyError:  # none of that name yet
            continue
        _same_question(study, sweep)
        for trial in study.get_trials(deepcopy=False):
            if trial.state == optuna.trial.TrialState.WAITING:
                continue
            try:
                values = suggest(trial, sweep, group)
            except ValueError:  # its driver died while it was being drawn
                continue
            attrs = trial.user_attrs
            proposal = Proposal(group, trial.number, bool(attrs.get("anchor")), values, _stopped(attrs))
            state = "DUPLICATE" if "duplicate_of" in attrs else trial.state.name
            ended = list(trial.values) if trial.values else None
            if ended and state == "PRUNED":
                ended = [_sign(search) * ended[0]]  # of the loss at its last rung, whatever is searched for
            seen = trial.intermediate_values.items()
            rungs = {step: _sign(search) * loss for step, loss in seen if f"stopped at {step}" in attrs}
            fingerprint = str(attrs.get("fingerprint", ""))
            entries.append(
                (trial.datetime_start, Entry(proposal, state, ended, rungs, fingerprint, attrs.get("retry_of")))
            )
    return [entry for _, entry in sorted(entries, key=lambda pair: (pair[0], pair[1].proposal.key))]


def search_document(sweep: Sweep, folder: Path) -> dict[str, Any] | None:
    """What `search history --json` prints: the search, and its proposals in order; None for a sweep without one."""
    if sweep.search is None:
        return None
    search = sweep.search
    return {
        "study": sweep.name,
        "algorithm": search.algorithm,
        "scheduler": search.scheduler,
        "metrics": search.metrics,
        "directions": list(search.directions),
        "planned": trials_planned(sweep),
        "trials": [
            {
                "proposal": entry.proposal.key,
                "model": entry.proposal.group or entry.proposal.values.get("model") or sweep.axes["model"][0],
                "anchor": entry.proposal.anchor,
                "state": entry.state,
                "values": entry.values,
                "rungs": entry.rungs,
                "fingerprint": entry.fingerprint,
                "retry_of": entry.retry_of,
                "axes": entry.proposal.values,
            }
            for entry in history(sweep, folder)
        ],
    }


def finalists(sweep: Sweep, entries: list[Entry]) -> dict[str, list[Entry]]:
    """Group -> the best of its COMPLETE entries, the best first; of two metrics, those no other is better than in
    both, by the first metric. The anchor comes last where it is not among them."""
    search = asked_by(sweep)
    top = sweep.confirm.top if sweep.confirm else 1
    signs = [-1.0 if direction == "maximize" else 1.0 for direction in search.directions]
    found = {}
    for group in groups_of(sweep):
        own = [e for e in entries if e.proposal.group == group and e.state == "COMPLETE" and e.values]
        scored = [([sign * v for sign, v in zip(signs, e.values or [], strict=True)], e) for e in own]
        best = [(score, e) for score, e in scored if not any(_dominates(other, score) for other, _ in scored)]
        ranked = sorted(best if len(signs) > 1 else scored, key=lambda pair: (pair[0], pair[1].proposal.number))
        chosen = [entry for _, entry in ranked[:top]]
        anchors = [entry for entry in own if entry.proposal.anchor and entry not in chosen]
        found[group] = chosen + anchors
    return found


def outcome_of(row: Mapping[str, Any], search: SearchSpec) -> tuple[Any, list[float] | None]:
    """(Optuna's state, values of the metrics) of a trial's row.

    A diverged trial passes nothing and has no loss: with one metric it is PRUNED below all others, since a sampler
    that is told nothing would go there again. Without a defined metric a trial FAILed.
    """
    from optuna.trial import TrialState

    metrics = row.get("metrics") or {}
    status = row["status"]
    values = [metrics.get(name) for name in search.metrics]
    if status == DIVERGED and search.metrics == ["val_pass_rate"]:
        return TrialState.COMPLETE, [0.0]
    if status in (PRUNED, DIVERGED):
        return TrialState.PRUNED, None
    if status == COMPLETE and all(value is not None and not math.isnan(value) for value in values):
        return TrialState.COMPLETE, [float(value) for value in values if value is not None]
    return TrialState.FAIL, None


def suggest(trial: Any, sweep: Sweep, group: str, before: Callable[[Any, str], None] | None = None) -> dict[str, Any]:
    """Draw (or, of a trial that has them, read) the values of all searched axes that are active. `before` is called
    with the trial and each axis."""
    models = sweep.axes["model"]
    values: dict[str, Any] = {}
    if not group and len(models) > 1:
        if before:
            before(trial, "model")
        values["model"] = trial.suggest_categorical("model", models)
    for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
        how = sweep.searched[axis]
        if not how.active(values):
            continue
        if before:
            before(trial, axis)
        if how.or_null and trial.suggest_categorical(f"{axis}_off", [False, True]):
            values[axis] = None
        elif how.choice is not None:
            values[axis] = trial.suggest_categorical(axis, how.choice)
        elif how.uniform or how.loguniform:
            low, high = how.uniform or how.loguniform or (0.0, 0.0)
            values[axis] = trial.suggest_float(axis, low, high, log=how.loguniform is not None)
        else:
            start, end = how.int_uniform or how.int_loguniform or (0, 0)
            values[axis] = trial.suggest_int(axis, start, end, log=how.int_loguniform is not None)
    return values


def storage_of(search: SearchSpec, folder: Path) -> BaseStorage:
    """Optuna's storage of a study: its database, else a journal in its folder. `optuna-dashboard` opens both."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if search.storage is not None:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return RDBStorage(_database(search.storage, folder))
        except (SQLAlchemyError, ImportError) as error:
            raise UsageError(
                "search.storage",
                asked=search.storage,
                found=str(error).splitlines()[0],
                do="a database that can be reached, with its driver installed; or leave it out",
            ) from error
    folder.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(str(folder / JOURNAL)))


def _database(url: str, folder: Path) -> str:
    """SQLite's file lies in the study's folder unless its path is absolute: not wherever a process was started."""
    scheme, _, path = url.partition(":///")
    return f"{scheme}:///{folder / path}" if scheme == "sqlite" and path and not path.startswith("/") else url


def _there(search: SearchSpec, folder: Path) -> bool:
    """Whether a search has begun, as far as files say: looking must not make any."""
    if search.storage is None:
        return (folder / JOURNAL).exists()
    scheme, _, path = _database(search.storage, folder).partition(":///")
    return scheme != "sqlite" or Path(path).exists()


def _same_question(study: optuna.Study, sweep: Sweep) -> None:
    """A study holds the answers to one question: other axes, recipe, data or metric are another. More trials are not.

    Raises UsageError.
    """
    search = asked_by(sweep)
    asked = {
        "searched": {axis: how.model_dump(mode="json") for axis, how in sweep.searched.items()},
        "axes": sweep.axes,
        "recipe": sweep.recipe.model_dump(mode="json"),
        "data": sweep.data.model_dump(mode="json", exclude={"name", "path", "assumed"}),
        "metric": search.metric,
        "rungs": [search.scheduler, search.rungs.model_dump(mode="json") if search.rungs else None],
    }
    text = json.dumps(asked, sort_keys=True)
    before = study.user_attrs.get("asked")
    if before is None:
        study.set_user_attr("asked", text)
    elif before != text:
        old = json.loads(before)
        changed = ", ".join(key for key in asked if json.loads(text)[key] != old.get(key))
        raise UsageError(
            f"search {study.study_name}",
            asked=f"another {changed} than it was begun with",
            found=f"{len(study.get_trials(deepcopy=False))} proposals that answer the old question",
            do="--set name=NAME for another study, or the sweep as it was",
        )


def _stopped(attrs: Mapping[str, Any]) -> bool:
    return any(key.startswith("stopped at ") and stop for key, stop in attrs.items())


def _in_a_row(found: Iterable[bool]) -> int:
    """How many of the first are true."""
    return sum(1 for _ in itertools.takewhile(bool, found))


def study_name(sweep: Sweep, group: str) -> str:
    """What Optuna calls it: the sweep, and the model where each has its own."""
    return f"{sweep.name}/{group}" if group else sweep.name


def groups_of(sweep: Sweep) -> list[str]:
    """One search for each model, or one for all of them, called by the empty name."""
    return list(sweep.axes["model"]) if sweep.search and sweep.search.equal_per else [""]


def trials_planned(sweep: Sweep) -> int:
    """Proposals of the whole search."""
    search = asked_by(sweep)
    if search.algorithm == "grid":
        return sum(1 for _ in combinations(sweep.searched)) * len(sweep.axes["model"])
    return search.trials or 0


def exhausted(sweep: Sweep, entries: list[Entry]) -> bool:
    """Whether every proposal was made and has ended, or nothing new was left to propose."""
    if any(entry.state == "RUNNING" for entry in entries):
        return False
    groups = groups_of(sweep)
    for group in groups:
        own = [entry for entry in entries if entry.proposal.group == group]
        drawn = [entry for entry in own if entry.state == "DUPLICATE"]
        made = len(own) - len(drawn) - sum(entry.retry_of is not None for entry in own)
        again = _in_a_row(entry.state == "DUPLICATE" for entry in sorted(own, key=lambda e: -e.proposal.number))
        if made < trials_planned(sweep) // len(groups) and again < REDRAWS:
            return False
    return True


def anchors(sweep: Sweep) -> list[Proposal]:
    """The recipe as it stands, for every model: what every search proposes first."""
    found = []
    for group in groups_of(sweep):
        for number, (params, anchor) in enumerate(_first(sweep, group)):
            if anchor:
                named = {"model": params["model"]} if "model" in params else {}
                found.append(Proposal(group, number, True, named | _anchor(sweep)))
    return found


def drawn(sweep: Sweep, entries: list[Entry]) -> list[Proposal]:
    """Stand-ins for the proposals still to be made: drawn at random, the same at every call."""
    if exhausted(sweep, entries):
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    groups, found = groups_of(sweep), []
    for group in groups:
        own = [entry for entry in entries if entry.proposal.group == group]
        made = len([e for e in own if e.state != "DUPLICATE" and e.retry_of is None])
        waiting = 0 if made else sum(anchor for _, anchor in _first(sweep, group))  # the plan has them already
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=asked_by(sweep).seed))
        for _ in range(trials_planned(sweep) // len(groups) - made - waiting):
            trial = study.ask()
            found.append(Proposal(group, trial.number, False, suggest(trial, sweep, group)))
    return found


def asked_by(sweep: Sweep) -> SearchSpec:
    """The search of a sweep that has one."""
    if sweep.search is None:
        raise ValueError(f"sweep {sweep.name} has no search")
    return sweep.search


def sampler_of(search: SearchSpec, sweep: Sweep, group: str, number: int) -> Any:
    """Optuna's sampler for one proposal, seeded by the search, its group and the number: a search that was broken off
    draws what the whole one would have drawn, given the same history."""
    from optuna import samplers

    seed = zlib.crc32(f"{search.seed} {group} {number}".encode())
    options = dict(search.sampler)
    if search.algorithm == "tpe":
        options = {"multivariate": True, "constant_liar": True} | options
        conditional = any(how.when or how.or_null for how in sweep.searched.values())
        if options["multivariate"] and conditional:
            options.setdefault("group", True)  # else what is not always there is drawn apart from the rest
        return _quietly(samplers.TPESampler, seed=seed, **options)
    if search.algorithm == "gp":
        return _quietly(samplers.GPSampler, seed=seed, **options)
    if search.algorithm == "cma-es":
        return _quietly(samplers.CmaEsSampler, seed=seed, **options)
    if search.algorithm == "nsga2":
        return _quietly(samplers.NSGAIISampler, seed=seed, **options)
    return samplers.RandomSampler(seed=seed)


def pruner_of(search: SearchSpec) -> Any:
    """Optuna's pruner. Its rungs are in the resource that trials report, and lie in the storage."""
    from optuna import pruners

    rungs = search.rungs
    if search.scheduler == "none" or rungs is None:
        return pruners.NopPruner()
    if search.scheduler == "asha":
        return pruners.SuccessiveHalvingPruner(min_resource=rungs.first, reduction_factor=rungs.reduction_factor)
    if search.scheduler == "hyperband":
        # "auto" would wait for a first complete trial; the farthest rung that counts is the last before the end.
        return pruners.HyperbandPruner(
            min_resource=rungs.first,
            max_resource=rungs.first * rungs.reduction_factor**HYPERBAND_RUNGS,
            reduction_factor=rungs.reduction_factor,
        )
    return pruners.MedianPruner(n_startup_trials=MEDIAN_STARTUP, n_warmup_steps=0)


HYPERBAND_RUNGS = 3
"""Brackets begin at the first rung and at the three after it."""
MEDIAN_STARTUP = 5
"""Trials that end before the median of the others stops one: Optuna's default, and Vizier's (Golovin et al. 2017)."""


def _first(sweep: Sweep, group: str) -> list[tuple[dict[str, Any], bool]]:
    """What is tried before anything is drawn: the anchor of each model, and of a grid all its points."""
    search = asked_by(sweep)
    models = [group] if group else sweep.axes["model"]
    found: list[tuple[dict[str, Any], bool]] = []
    for model in models:
        anchors = [_anchor(sweep)] if search.anchor else []
        points = list(combinations(sweep.searched)) if search.algorithm == "grid" else []
        for values in anchors + [point for point in points if point not in anchors]:
            named = values if group or len(models) == 1 else {"model": model} | values
            found.append((_params(named, sweep), values in anchors))
    return found


def _anchor(sweep: Sweep) -> dict[str, Any]:
    """The recipe's own values of the searched axes."""
    values: dict[str, Any] = {}
    for axis in sorted(sweep.searched, key=lambda axis: bool(sweep.searched[axis].when)):
        if sweep.searched[axis].active(values):
            values[axis] = getattr(sweep.recipe if axis in type(sweep.recipe).model_fields else sweep.data, axis)
    return values


def _params(values: Mapping[str, Any], sweep: Sweep) -> dict[str, Any]:
    """Values of axes as Optuna's parameters: what can be off has a switch of its own."""
    params: dict[str, Any] = {}
    for axis, value in values.items():
        how = sweep.searched.get(axis)
        if how is not None and how.or_null:
            params[f"{axis}_off"] = value is None
        if value is not None or how is None or not how.or_null:
            params[axis] = value
    return params


def _axes(values: Mapping[str, Any], sweep: Sweep, group: str) -> dict[str, Any]:
    """Back again, from what OptunaSearch hands out: parameters and our values in one mapping."""
    names = [*sweep.searched, "model"]
    return {axis: values[axis] for axis in names if axis in values and not (axis == "model" and group)}


def _dominates(first: list[float], second: list[float]) -> bool:
    """Whether the first is nowhere worse and somewhere better; lower is better."""
    return all(a <= b for a, b in zip(first, second, strict=True)) and first != second


def _modes(search: SearchSpec) -> Any:
    modes = ["max" if direction == "maximize" else "min" for direction in search.directions]
    return modes if _two(search) else modes[0]


def _two(search: SearchSpec) -> bool:
    return not isinstance(search.metric, str)


def _sign(search: SearchSpec) -> float:
    """Optuna compares at rungs in the direction of the metric; ours are losses, whatever is searched for."""
    return -1.0 if search.directions[0] == "maximize" else 1.0


def _worst(search: SearchSpec) -> float:
    return -math.inf if search.directions[0] == "maximize" else math.inf


def _quietly(sampler: Any, **options: Any) -> Any:
    """Without the warning that a part of it is experimental, at every proposal."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return sampler(**options)
