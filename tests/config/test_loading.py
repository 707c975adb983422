"""Every shipped YAML loads; every wrong one ends in one clear error with file and line."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from sweeper.config import (
    Claim,
    DataSpec,
    EngineSpec,
    EvaluationSpec,
    HardwareSpec,
    ModelSpec,
    Recipe,
    Reference,
    expand_sweep,
    find_sweep,
    load_references,
    load_sweep,
)
from sweeper.config.yaml_lines import YamlFile, parse_yaml_value
from sweeper.data.test_queries import PUBLISHED_SUITES
from sweeper.errors import ConfigError, UsageError

ROOT = Path(__file__).resolve().parents[2]
KINDS = {
    "recipes": Recipe,
    "models": ModelSpec,
    "data": DataSpec,
    "evaluation": EvaluationSpec,
    "engines": EngineSpec,
    "hardware": HardwareSpec,
    "claims": Claim,
    "references": Reference,
}
QUICKSTART = (ROOT / "sweeps/quickstart.yaml").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_sweep_loads_and_expands(path: Path) -> None:
    sweep = load_sweep(path)
    cells = 1
    for values in sweep.axes.values():
        cells *= len(values)
    assert sweep.name == path.stem
    assert len(expand_sweep(sweep)) == cells


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*/*.yaml")), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_shipped_config_is_valid_and_named_as_its_file(path: Path) -> None:
    piece = KINDS[path.parent.name].model_validate(YamlFile.read(path).content)
    assert getattr(piece, "name", getattr(piece, "id", path.stem)) == path.stem


def test_published_averages_match_their_rows() -> None:
    """A typing error in a rate would show: every published average is a mean of its row, plain or by queries."""
    for reference in load_references():
        sizes = PUBLISHED_SUITES[reference.query_set]
        for row in reference.rows:
            assert set(row.rates) == set(sizes)
            plain_mean = sum(row.rates.values()) / len(sizes)
            weighted = sum(rate * sizes[subset] for subset, rate in row.rates.items()) / sum(sizes.values())
            mean = weighted if reference.name == "paper" else plain_mean
            assert row.overall == pytest.approx(mean, abs=0.06), (reference.name, row.model)


def test_canonical_recipe_matches_the_paper() -> None:
    recipe = load_sweep(ROOT / "sweeps/canonical.yaml").recipe
    assert (recipe.num_train_epochs, recipe.learning_rate, recipe.warmup_steps) == (1, 5e-5, 100)
    assert (recipe.per_device_train_batch_size, recipe.effective_batch_size) == (8, 32)
    assert (recipe.max_grad_norm, recipe.weight_decay) == (0.3, 0.01)
    assert (recipe.precision, recipe.gradient_checkpointing) == ("fp16", True)
    assert (recipe.dataloader_num_workers, recipe.dataloader_pin_memory) == (4, True)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("claims:", "clams:", 14, "did you mean `claims`"),
        ("[opt-tiny-32, ", "[opt-tiny-33, ", 9, "did you mean `opt-tiny-32`"),
        ("[1, 3]", "[]", 10, "empty list"),
        ("[1, 3]", "[1, 1]", 10, "the value 1 twice"),
        ("[1, 3]", "[1, x]", 10, "valid number"),
        ("[1, 3]", "[1, 0]", 10, "greater than 0"),
        ("[1, 3]", "3", 10, "not a list"),
        ("  num_train_epochs: [1", "  num_train_epoch: [1", 10, "did you mean `num_train_epochs`"),
        ("seed: [0, 1, 2, 3]", "seed: [0.5]", 11, "valid integer"),
        ("extends: miniature", "extends: minature", 5, "did you mean `miniature`"),
        ("learning_rate: 0.006", "learning_rat: 1", 5, "did you mean `learning_rate`"),
        ("cpus: 1", "cpuss: 1", 31, "did you mean `cpus`"),
        ("cpus: 1", "cpus: -1", 31, "greater than 0"),
        ("engine: single", "engine: singel", 31, "did you mean `single`"),
        ("candidate: opt-tiny-64", "candidate: opt-tiny-65", 15, "the axis has"),
        ("question:", "question: [", 4, "not valid YAML"),
    ],
)
def test_load_sweep_reports_a_mistake_with_its_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(QUICKSTART.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert says in str(caught.value)
    where, _, number = caught.value.where.rpartition(":")
    assert where == str(path)
    # A broken flow sequence is noticed where it should have ended.
    assert int(number) == line or "YAML" in says
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['true']", "- a\n- b\n", "", "a: b: c", "\x00"])
def test_load_sweep_refuses_a_file_that_is_no_sweep(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_sweep(path)


def test_find_sweep_suggests_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="quickstart"):
        find_sweep("quikstart")


def test_numbers_in_exponent_notation_are_floats() -> None:
    assert parse_yaml_value("5e-5") == 5e-5
    assert isinstance(parse_yaml_value("5e-5"), float)


def test_load_sweep_applies_overrides_at_every_level() -> None:
    sweep = load_sweep(
        find_sweep("quickstart"),
        [
            "axes.seed=[7]",
            "recipe.learning_rate=5e-5",
            "data.toolworld.seed=3",
            "runtime.opt-tiny-32.cpus=2",
            "evaluation.temperature=0.1",
        ],
    )
    assert sweep.axes["seed"] == [7]
    assert sweep.recipe.learning_rate == 5e-5
    assert sweep.data.toolworld["seed"] == 3
    assert sweep.resolve_runtime("opt-tiny-32").cpus == 2
    assert sweep.resolve_runtime("opt-tiny-64").cpus == 1
    assert sweep.evaluation is not None
    assert sweep.evaluation.temperature == 0.1


def test_load_sweep_overrides_a_model_name_with_dots() -> None:
    overrides = ["axes.model=[opt-1.3b]", "runtime={}", "runtime.opt-1.3b.workers=4"]
    assert load_sweep(find_sweep("canonical"), overrides).resolve_runtime("opt-1.3b").workers == 4


def test_later_override_reaches_into_a_mapping_of_an_earlier_one() -> None:
    overrides = ["runtime={opt-tiny-32: {cpus: 2}}", "runtime.opt-tiny-64.cpus=3", "runtime.opt-tiny-32.micro_batch=4"]
    sweep = load_sweep(find_sweep("quickstart"), [*overrides, "data={extends: toolworld}", "data.max_length=300"])
    assert (sweep.resolve_runtime("opt-tiny-32").cpus, sweep.resolve_runtime("opt-tiny-32").micro_batch) == (2, 4)
    assert sweep.resolve_runtime("opt-tiny-64").cpus == 3
    assert (sweep.data.name, sweep.data.max_length) == ("toolworld", 300)


@pytest.mark.parametrize("key", ["models", "engines", "hardware", "searched", "rehearsal", "sweeps"])
def test_override_of_a_field_that_no_file_has_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key `{key}`"):
        load_sweep(find_sweep("quickstart"), [f"{key}=x"])


@pytest.mark.parametrize("claims", ["5", "single-epoch", "{a: b}"])
def test_claims_are_a_list(claims: str) -> None:
    with pytest.raises(ConfigError, match="not a list of claims"):
        load_sweep(find_sweep("quickstart"), [f"claims={claims}"])


def test_settings_of_the_world_are_checked_when_a_sweep_is_loaded() -> None:
    with pytest.raises(ConfigError, match="unknown key `train_quries`; did you mean `train_queries`"):
        load_sweep(find_sweep("quickstart"), ["data.toolworld.train_quries=5"])


@pytest.mark.parametrize("override", ["axes", "foo=1", "axes.modl=[1]", "recipe.lr=1", "name.x=1", "axes.seed=[", "=1"])
def test_load_sweep_refuses_an_invalid_override(override: str) -> None:
    with pytest.raises(UsageError):
        load_sweep(find_sweep("quickstart"), [override])


def test_errors_survive_pickling() -> None:
    error = ConfigError("a.yaml:3", requested="x", found="y", hint="z")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.exit_code) == (ConfigError, str(error), 2)


def test_claims_of_the_paper_are_shipped() -> None:
    names = {"pass-rate", "sweet-spot", "single-epoch", "stability", "generalises", "judge-independent"}
    assert {path.stem for path in (ROOT / "configs/claims").glob("*.yaml")} >= names | {"small-is-cheaper"}
