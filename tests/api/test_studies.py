from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from small_studies import load_small_sweep

from sweeper.api import Study, StudyVerdict, load_sweep, open_study, run
from sweeper.errors import UsageError

PINNED = Path(__file__).resolve().parents[1] / "pinned"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(PINNED / "store", tmp_path_factory.mktemp("api") / "store"))


@pytest.fixture(scope="module")
def tiny(store: Path) -> Study:
    return open_study("tiny", store)


def test_trials_have_plan_status_and_metrics(tiny: Study) -> None:
    records = [json.loads(path.read_text()) for path in (PINNED / "store/trials").glob("*/record.json")]
    losses = {record["fingerprint"]: record["metrics"]["val_loss"] for record in records}
    assert tiny.trials["val_loss"].tolist() == [losses[name] for name in tiny.trials["fingerprint"]]
    assert tiny.trials["num_train_epochs"].tolist() == [1.0, 1.0, 2.0, 2.0]
    assert set(tiny.trials["status"]) == {"COMPLETE"} and tiny.trials["failure"].isna().all()
    assert (repr(tiny), tiny.status_counts) == ("Study('tiny': 4 COMPLETE)", {"COMPLETE": 4})


def test_outcomes_have_the_axes_of_their_trial(tiny: Study) -> None:
    axes = tiny.trials.set_index("fingerprint")[["model", "num_train_epochs", "seed"]]
    assert len(tiny.outcomes) == 4 * 12
    for fingerprint, rows in tiny.outcomes.groupby("fingerprint", observed=True):
        for axis, value in axes.loc[fingerprint].items():
            assert set(rows[axis]) == {value}
    rates = tiny.outcomes.groupby("fingerprint", observed=True)["passed"].mean()
    assert rates[tiny.trials["fingerprint"]].tolist() == tiny.trials["pass_rate"].tolist()


def test_history_has_one_row_per_logged_step(tiny: Study) -> None:
    steps = tiny.history.groupby("num_train_epochs")["step"].max()
    assert steps.tolist() == tiny.trials.groupby("num_train_epochs")["steps"].max().tolist()
    assert {"fingerprint", "seed", "loss", "grad_norm", "val_loss"} <= set(tiny.history.columns)


def test_verdict_is_that_of_the_report(tiny: Study, tmp_path: Path) -> None:
    written = tiny.report(tmp_path / "page.html")
    document = json.loads((tmp_path / "page.json").read_text())
    entry, verdict = document["claims"][0], tiny.verdict("single-epoch")
    assert (verdict.label, verdict.sentence, verdict.estimate) == (
        entry["verdict"],
        entry["sentence"],
        entry["estimate"],
    )
    assert list(verdict.interval) == entry["interval"]
    assert verdict.sentence.partition("(")[0] in written.path.read_text()
    assert tiny.verdicts == [verdict]
    assert tiny.claims.loc[0, ["id", "low", "high"]].tolist() == ["single-epoch", *verdict.interval]
    assert str(verdict) == f"single-epoch: {verdict.label.upper()} ({verdict.late}). {verdict.sentence}"


def test_undefined_numbers_of_a_verdict_are_nan(tiny: Study, tmp_path: Path) -> None:
    entry = tiny.report(tmp_path / "page.html").document["claims"][0]
    undefined = StudyVerdict.from_entry({**entry, "estimate": None, "interval": [None, None], "p": None})
    assert all(math.isnan(value) for value in (undefined.estimate, *undefined.interval, undefined.p))


def test_report_is_written_into_the_study_by_default(tiny: Study) -> None:
    written = tiny.report()
    assert written.path == tiny.store.study_folder("tiny") / "report.html"
    assert written.json_path.is_file()
    assert written.write_wandb_report().is_file()


def test_page_is_a_file_of_its_own(tiny: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder"):
        tiny.report(tmp_path)
    with pytest.raises(UsageError, match=r"end it in \.html"):
        tiny.report(tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_unknown_claim_suggests_the_nearest(tiny: Study) -> None:
    with pytest.raises(UsageError, match="did you mean `single-epoch`"):
        tiny.verdict("single-epok")


def test_study_that_has_not_run_has_no_verdict(tmp_path: Path) -> None:
    study = open_study(PINNED / "tiny.yaml", tmp_path)
    assert set(study.trials["status"]) == {"PENDING"}
    assert study.trials["val_loss"].isna().all()
    assert study.history.empty and study.outcomes.empty
    with pytest.raises(UsageError, match="has not run"):
        study.verdict("single-epoch")


def test_search_history_of_a_search_alone(store: Path, tiny: Study) -> None:
    assert len(open_study("looking", store).read_search_history()["trials"]) >= 4
    with pytest.raises(UsageError, match="a sweep without a search"):
        tiny.read_search_history()


@pytest.mark.parametrize(("option", "value"), [("backend", "slurm"), ("tracking", "paper")])
def test_unknown_choice_is_refused_before_anything_starts(option: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=value):
        run(load_small_sweep(), tmp_path / "store", **{option: value})
    assert not (tmp_path / "store").exists()


def test_underpowered_claims_are_refused_unless_they_are_accepted(tmp_path: Path) -> None:
    sweep = load_sweep(PINNED / "tiny.yaml", {"accept_underpowered": False})
    with pytest.raises(UsageError, match=r"(?s)claim single-epoch: underpowered.*--accept-underpowered"):
        run(sweep, tmp_path / "store", backend="inline", tracking="none")
    assert not (tmp_path / "store").exists()


def test_study_that_has_not_run_names_those_of_the_store(store: Path) -> None:
    with pytest.raises(UsageError, match="studies there: looking, tiny"):
        open_study("quickstart", store).require_run()


@pytest.mark.slow
def test_run_trains_what_is_unfinished(tmp_path: Path) -> None:
    sweep = load_small_sweep("axes.seed=[0]")
    text = io.StringIO()
    options = {"backend": "inline", "tracking": "none", "console": Console(file=text, width=200)}
    study = run(sweep, tmp_path, **options)
    assert study.trials["status"].tolist() == ["COMPLETE"]
    assert study.name == "quickstart" and not study.is_combined
    run(sweep, tmp_path, **options)
    assert "1 finished before, 0 to run" in text.getvalue()
    results = ["fingerprint", "status", "val_loss", "pass_rate", "train_seconds"]
    assert open_study("quickstart", tmp_path).trials[results].equals(study.trials[results])
