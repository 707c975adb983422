"""Choices that a user makes by name: each is handled by what reads it, and none falls through to another.

Choices with a registry are files of a folder. The others are `Literal` fields of the configuration; HANDLERS lists what
handles each, and a new `Literal` field fails here until it is listed.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin

import pandas as pd
import pytest
from claim_cases import GENERAL, SPOT, STABLE, clipping_runs, decide_runs, make_claim, size_runs
from claim_tables import seeds, tables
from pydantic import BaseModel, TypeAdapter, ValidationError
from tiny_trial import DATA, MODEL, RECIPE, make_test_schedule

import sweeper
from sweeper import config
from sweeper.claims.kinds.generalises import select_clusters
from sweeper.claims.tables import ClaimTables
from sweeper.config import Choice, EngineSpec, EvaluationSpec, Recipe, Rungs
from sweeper.config.look_levels import spend_alpha
from sweeper.errors import DataError, UsageError
from sweeper.registry import Registry
from sweeper.results.study_evidence import list_needed_trials
from sweeper.statistics.pass_matrix import build_pass_matrix
from sweeper.training import TrialRow

REFUSALS = (AssertionError, KeyError, UsageError, ValueError)
"""What code raises for a value that it does not handle; `assert_never` raises an AssertionError."""
ROOT = Path(__file__).resolve().parents[1]


def walk_modules(package: ModuleType) -> Iterator[ModuleType]:
    """Import every module of a package; skip those that need Ray where it is not installed."""
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if found.name.endswith("__main__"):
            continue
        try:
            yield importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            if str(error.name).split(".")[0] != "ray":
                raise


def walk_annotation(annotation: object) -> Iterator[object]:
    """Every part of a type: its arguments and what `Annotated` adds, at any depth."""
    yield annotation
    if get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from walk_annotation(part)


@cache
def list_config_models() -> tuple[type[BaseModel], ...]:
    """Every model that `sweeper.config` defines."""
    classes = {
        value
        for module in walk_modules(config)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, BaseModel) and value.__module__ == module.__name__
    }
    return tuple(sorted(classes, key=lambda each: each.__name__))


def walk_fields() -> Iterator[tuple[str, object]]:
    """(`Model.field`, a part of its type or metadata) of every field of the configuration."""
    for model in list_config_models():
        for name, info in model.model_fields.items():
            for part in (*walk_annotation(info.annotation), *info.metadata):
                yield f"{model.__name__}.{name}", part


def list_literal_fields() -> dict[str, tuple[Any, ...]]:
    """`Model.field` -> its values."""
    return {name: get_args(part) for name, part in walk_fields() if get_origin(part) is Literal}


def list_choice_fields() -> dict[str, Choice]:
    """`Model.field` -> the registry that validates it."""
    return {name: part for name, part in walk_fields() if isinstance(part, Choice)}


@cache
def list_registries() -> tuple[Registry[Any], ...]:
    """Every registry: variables of modules, and those that configuration fields are validated against."""
    named = [value for module in walk_modules(sweeper) for value in vars(module).values()]
    choices = [choice.registry for choice in list_choice_fields().values()]
    return tuple({id(value): value for value in (*named, *choices) if isinstance(value, Registry)}.values())


def test_registries_load_every_name() -> None:
    """Every file of a folder defines the folder's attribute."""
    assert len(list_registries()) >= 10
    for registry in list_registries():
        assert registry.names, registry.folder
        for name in registry.names:
            try:
                assert registry.load(name) is not None
            except ModuleNotFoundError as error:
                assert str(error.name).split(".")[0] == "ray", f"{registry.folder}: {name}"


def test_registries_refuse_an_unknown_name_and_list_those_known() -> None:
    for registry in list_registries():
        with pytest.raises(UsageError) as failure:
            registry.load("no-such-name")
        for name in registry.names:
            assert name in failure.value.hint, registry.folder


def test_registries_of_one_folder_agree() -> None:
    """Configuration declares registries of packages that it must not import; both sides must mean the same."""
    meanings: dict[str, set[tuple[str, str, str]]] = {}
    for registry in list_registries():
        meanings.setdefault(registry.folder, set()).add((registry.kind, registry.attribute, registry.separator))
    assert {folder: found for folder, found in meanings.items() if len(found) > 1} == {}


def test_choice_fields_refuse_an_unknown_name() -> None:
    assert {"EvaluationSpec.environment", "EvaluationSpec.judge", "SearchSpec.algorithm"} <= set(list_choice_fields())
    for field, choice in list_choice_fields().items():
        accepts = TypeAdapter(Annotated[str, choice])
        assert [accepts.validate_python(name) for name in choice.registry.names] == list(choice.registry.names), field
        with pytest.raises(ValidationError) as failure:
            accepts.validate_python("no-such-name")
        assert failure.value.errors()[0]["ctx"]["names"] == list(choice.registry.names)


def name_clusters(value: Any) -> Any:
    rows, outcomes = tables(seeds(1), 12)
    names = {kind: {("G1_tool", "2"): f"the {kind}"} for kind in ("tool", "category")}
    claim = GENERAL.model_copy(update={"clusters": value})
    own = ClaimTables(rows, build_pass_matrix(rows, outcomes), outcomes, (), None, query_clusters=names)
    return select_clusters(claim, own) or "none"


def read_predictor(value: Any) -> Any:
    """The reason names the loss that a pass rate is predicted from, where no run has it."""
    runs = [each | {"val_loss": None, "gold_nll": None} for each in seeds(2)]
    claim = make_claim("predicts", axis="model", candidate="middle", predictor=value)
    return decide_runs(claim, runs).reason


def spread_alpha(value: Any) -> Any:
    return spend_alpha(0.05, [3, 6], value)


def list_needed(value: Any) -> Any:
    """Two trials of which an open claim needs none yet."""
    sweep = config.load_sweep(config.find_sweep("quickstart")).model_copy(update={"until": value})
    claims = [SPOT.model_copy(update={"looks": [2, 4], "where": {"model": "other"}})]
    rows = [TrialRow(f"t{seed}", "PENDING", planned={"model": "middle", "seed": seed}) for seed in (0, 7)]
    return list_needed_trials(sweep.model_copy(update={"claims": claims}), rows, pd.DataFrame(), {})


def make_sft_settings(recipe: Recipe) -> Any:
    from sweeper.training.batching import split_batch
    from sweeper.training.sft_config import make_sft_config

    schedule, batch = make_test_schedule(recipe, 20), split_batch(recipe, 1)
    return make_sft_config(recipe, 0, schedule, batch, Path("unused"), cuda=recipe.precision == "fp16")


def draw_learning_rates(value: str) -> object:
    """The learning rates of twenty steps."""
    import torch
    from transformers import get_scheduler

    decay = 0.5 if value == "warmup_stable_decay" else None
    warmup = 0 if value == "constant" else RECIPE.warmup_steps
    changes = {"lr_scheduler_type": value, "decay_fraction": decay, "warmup_steps": warmup}
    args = make_sft_settings(RECIPE.model_copy(update=changes))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    kwargs = args.lr_scheduler_kwargs
    scheduler = get_scheduler(
        args.lr_scheduler_type, optimizer, args.warmup_steps, 20, scheduler_specific_kwargs=kwargs
    )
    rates = []
    for _ in range(20):
        optimizer.step()
        scheduler.step()
        rates.append(round(scheduler.get_last_lr()[0], 6))
    return rates


def read_precision(value: str) -> object:
    args = make_sft_settings(RECIPE.model_copy(update={"precision": value}))
    return args.fp16, args.bf16


def read_sampling_strategy(value: str) -> object:
    """The class of the sampler that the trainer makes."""
    from datasets import Dataset

    from sweeper.training.sft_trainer import LeanSFTTrainer

    trainer = object.__new__(LeanSFTTrainer)
    trainer.args = make_sft_settings(RECIPE)
    trainer.args.train_sampling_strategy = value
    trainer.train_dataset = Dataset.from_list([{"input_ids": [1], "length": 1}] * 4)
    trainer._example_count, trainer._padding_rows, trainer._batch_split = 4, 0, None
    return type(trainer._get_train_sampler(trainer.train_dataset))


def read_direction(value: str) -> object:
    from sweeper.claims.comparison import make_decision_bounds
    from sweeper.claims.kinds.base import require_direction

    return make_decision_bounds(require_direction(SPOT.model_copy(update={"direction": value})), 0.05)


def read_sd_ratio(value: str) -> object:
    return SPOT.model_copy(update={"seeds": value}).sd_ratio or "paired"


def choose_sides(value: str) -> object:
    from sweeper.claims.kinds.best_of import choose_sides

    return choose_sides(SPOT.model_copy(update={"reading": value}), ["tiny", "small"], ["large", "huge"])


def describe_interpretation(value: str) -> object:
    from sweeper.claims.kinds.base import CLAIM_KINDS

    return CLAIM_KINDS.load("best-of").interpretations[value]


def leave_out_collapsed(value: str) -> object:
    runs = size_runs(0.5, 0.8, 0.79)
    runs[0]["status"] = "DIVERGED"
    return decide_runs(SPOT.model_copy(update={"estimand": value}), runs).comparisons[0].estimate


def count_collapsed(value: str) -> object:
    import pandas as pd

    from sweeper.claims.collapse import find_collapsed_runs

    rows = pd.DataFrame({"fingerprint": ["a", "b"], "status": "COMPLETE", "val_loss": [1, 3], "train_loss": [3, 1]})
    rule = config.claim.CollapseRule(metric=value, above=2)
    return find_collapsed_runs(SPOT.model_copy(update={"collapse": rule}), rows).names


def compare_spread(value: str) -> object:
    verdict = decide_runs(STABLE.model_copy(update={"spread_of": value}), clipping_runs(9))
    return {comparison.metric.name for comparison in verdict.comparisons}


def select_runs(value: str) -> object:
    """The runs of two models that a protocol compares, each with two learning rates, three seeds and two lengths."""
    import pandas as pd

    from sweeper.claims.protocols import select_runs

    rows = pd.DataFrame(
        {"model": model, "learning_rate": rate, "num_train_epochs": epochs, "seed": seed, "status": "COMPLETE"}
        | {"fingerprint": f"{model}{rate}{epochs}{seed}", "val_loss": rate, "train_flops": 1e9 * epochs * scale}
        for model, scale in (("small", 1), ("middle", 2))
        for rate in (0.1, 0.2)
        for epochs in (1, 2)
        for seed in (0, 1, 2)
    )
    tuned = {"tuned_axis": "learning_rate", "selection_seeds": [0]} if value == "tuned" else {}
    selected = select_runs(
        SPOT.model_copy(update={"protocol": value, "train_flops": 2e9, **tuned}),
        rows,
        ["model", "learning_rate", "num_train_epochs"],
    )
    return tuple(selected.rows["fingerprint"]), selected.problem


def open_training_data(value: str) -> object:
    from sweeper.data.sources import open_source

    try:
        return open_source(DATA.model_copy(update={"source": value, "path": "no/such/folder"})).kind
    except DataError as error:
        return error.found


def open_test_queries(value: str) -> object:
    from sweeper.data.test_queries import open_suite

    try:
        return list(open_suite(DATA.model_copy(update={"source": value, "path": "no/such/folder"})).subsets)
    except DataError as error:
        return error.found


def extend_positions(value: str) -> object:
    from sweeper.models.position_embeddings import resolve_extended_positions

    model = MODEL.model_copy(update={"config": MODEL.config | {"max_position_embeddings": 100}})
    return resolve_extended_positions(model, DATA.model_copy(update={"extend_positions": value}))


def request_structure(value: Any) -> object:
    from sweeper.evaluation.judges.llm import _AnswerStatus, _make_response_format

    return str(_make_response_format("step", _AnswerStatus, value))


def open_split(value: Any) -> object:
    from sweeper.data.test_queries import open_suite

    return sorted(query.id for queries in open_suite(DATA, value).subsets.values() for query in queries)


def name_metrics(value: str) -> object:
    from sweeper.evaluation.summary import EvaluationSummary, extract_metrics

    shares = dict.fromkeys(("pass_rate", "finished", "valid_action", "valid_json", "hallucinated"), 0.5)
    means = dict.fromkeys(("overgenerated", "incoherent", "calls_per_query", "tokens_per_query", "eval_seconds"), 0.5)
    summary = EvaluationSummary(**shares, **means, queries=2, unscored=0, subsets={}, suite="s")
    evaluation = EvaluationSpec(name="e", environment="toolworld", judge="oracle", max_steps=3, batch_size=8)
    return sorted(extract_metrics(summary, evaluation.model_copy(update={"split": value})))


def replay_unrecorded_call(value: Any) -> object:
    from sweeper.evaluation.environments.replay import ReplayEnvironment
    from sweeper.evaluation.tasks import Task

    replay = ReplayEnvironment({("api", "{}"): "recorded"}, value)
    return replay.execute(Task("1", "G1_tool", "q", "s", (), {}), "api", {"count": 1}).fault


def score_definition(value: str) -> object:
    """The pass rate of an unsure answer to a query that nothing can solve, and of a missing one."""
    import pandas as pd

    from sweeper.statistics.definitions import compute_judged_rates

    vote = {"subset": "G1_tool", "query_id": "1", "judge": "j", "vote": 0, "answered": True}
    votes = [
        vote | {"status": "unsure", "task": "unsolvable"},
        vote | {"query_id": "2", "status": "solved", "task": "solvable"},
    ]
    rates = compute_judged_rates(pd.DataFrame(votes), [("G1_tool", "3")]).pass_rate
    return round(rates[value].value, 6)


def label_definition(value: str) -> object:
    from sweeper.cli.tables_judging import _DEFINITIONS

    return _DEFINITIONS[value]


def retarget_hardware(value: str) -> object:
    """What a sweep without GPUs, and one with, do on that hardware."""
    from sweeper.planning.estimate import retarget_hardware

    sweep = config.load_sweep(config.find_sweep("quickstart"))
    on_gpu = {name: runtime.model_copy(update={"gpus": 1}) for name, runtime in sweep.runtime.items()}
    kind = next(iter(config.load_hardware_specs().values())).model_copy(update={"kind": value})
    results = []
    for asked in (sweep, sweep.model_copy(update={"runtime": on_gpu})):
        try:
            results.append({runtime.hardware for runtime in retarget_hardware(asked, kind).runtime.values()})
        except UsageError as error:
            results.append(error.hint)
    return results


def read_peak_flops(value: Any) -> object:
    """Each precision's own peak; hardware without one has an unknown (NaN) cost."""
    from sweeper.planning.cost_model import get_peak_flops

    hardware = next(iter(config.load_hardware_specs().values()))
    hardware = hardware.model_copy(update={"tflops": {"fp32": 1.0, "fp16": 2.0, "bf16": 3.0}})
    peak = get_peak_flops(hardware, value)
    if peak != peak:
        raise ValueError(value)
    return peak


def estimate_states(value: int) -> object:
    from sweeper.models.memory import estimate_model_states

    engine = EngineSpec(name="e", distributed=True).model_copy(update={"zero_stage": value})
    return estimate_model_states(1000, 900, 100, engine, state_bytes=8, is_half_precision=True, workers=4)


def apply_retention(value: Any) -> object:
    from sweeper.training.retention import checkpoints_to_delete, may_delete_model

    deleted = checkpoints_to_delete([(10, 0.5), (20, 0.9)], value, is_finished=True)
    return deleted, may_delete_model(value, is_finished=True, is_evaluated=True)


def place_rungs(value: str) -> object:
    from sweeper.training.pruning import compute_rung_steps

    rungs = Rungs(first=2).model_copy(update={"unit": value})
    return compute_rung_steps(rungs, "asha", 100, tokens=1000, steps_per_epoch=20)


def space_rungs(value: str) -> object:
    """The rungs of a scheduler that declares this spacing."""
    from sweeper.config.search import SCHEDULERS, read_scheduler_traits
    from sweeper.training.pruning import compute_rung_steps

    schedulers = {read_scheduler_traits(name).rung_spacing: name for name in SCHEDULERS.names}
    return compute_rung_steps(Rungs(first=2), schedulers[value], 100, tokens=1000, steps_per_epoch=20)


def check_sampler_option(value: Any) -> object:
    """Which of three values a sampler's option of this type accepts."""
    from sweeper.config.search import _check_option

    accepted = []
    for given in (True, 3, 0.5):
        try:
            _check_option("option", value, given)
        except ValueError:
            continue
        accepted.append(given)
    return accepted


def list_search_groups(value: str) -> object:
    from sweeper.search.space import list_groups

    search = config.SearchSpec(algorithm="random", trials=4).model_copy(update={"equal_per": value})
    sweep = config.load_sweep(config.find_sweep("quickstart"))
    return list_groups(sweep.model_copy(update={"search": search}))


HANDLERS: dict[str, tuple[Callable[[Any], object], ...]] = {
    "AlgorithmTraits.options": (check_sampler_option,),
    "Claim.clusters": (name_clusters,),
    "Claim.direction": (read_direction,),
    "Claim.estimand": (leave_out_collapsed,),
    "Claim.predictor": (read_predictor,),
    "Claim.protocol": (select_runs,),
    "Claim.reading": (choose_sides, describe_interpretation),
    "Claim.seeds": (read_sd_ratio,),
    "Claim.spend": (spread_alpha,),
    "Claim.spread_of": (compare_spread,),
    "CollapseRule.metric": (count_collapsed,),
    "DataSpec.extend_positions": (extend_positions,),
    "DataSpec.source": (open_training_data, open_test_queries),
    "EngineSpec.zero_stage": (estimate_states,),
    "EvaluationSpec.on_miss": (replay_unrecorded_call,),
    "EvaluationSpec.split": (open_split, name_metrics),
    "HardwareSpec.kind": (retarget_hardware,),
    "HardwareSpec.tflops": (read_peak_flops,),
    "LlmSpec.structured": (request_structure,),
    "Recipe.lr_scheduler_type": (draw_learning_rates,),
    "Recipe.precision": (read_precision,),
    "Recipe.train_sampling_strategy": (read_sampling_strategy,),
    "Reference.definition": (score_definition, label_definition),
    "Rungs.unit": (place_rungs,),
    "Runtime.checkpoints": (apply_retention,),
    "SchedulerTraits.rung_spacing": (space_rungs,),
    "SearchSpec.equal_per": (list_search_groups,),
    "Sweep.until": (list_needed,),
}
"""`Model.field` -> functions of a value that return what its handlers make of it, and raise for an unknown one."""
ALIKE = {select_runs: {"searched"}}
"""Values that a handler is meant to treat like another: the trials of `searched` are compared like `identical` ones."""


def test_literal_fields_all_have_a_handler() -> None:
    assert set(list_literal_fields()) == set(HANDLERS)


@pytest.mark.parametrize(
    ("field", "handle"),
    [
        pytest.param(field, handle, id=f"{field}-{handle.__name__}")
        for field, handlers in HANDLERS.items()
        for handle in handlers
    ],
)
def test_literal_values_are_handled_each_in_its_own_way(field: str, handle: Callable[[Any], object]) -> None:
    values = [value for value in list_literal_fields()[field] if value not in ALIKE.get(handle, ())]
    for value in ALIKE.get(handle, ()):
        handle(value)
    results = [handle(value) for value in values]
    for k, result in enumerate(results):
        assert result is not None
        assert result not in results[:k], f"{field}: {values[k]} is handled like another value"
    with pytest.raises(REFUSALS):
        handle("no-such-value" if isinstance(values[0], str) else 99)
