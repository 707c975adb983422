"""Tables of a study's commands, from the documents that their `--json` prints."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from sweeper.api import load_sweep, open_study, plan
from sweeper.cli.tables_study import (
    format_cost_lines,
    format_look_price,
    format_part_lines,
    render_claims_table,
    render_plan_table,
    render_search_table,
    render_simulation_table,
    render_status_table,
    render_verdict_lines,
)

PINNED = Path(__file__).resolve().parents[1] / "pinned"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(PINNED / "store", tmp_path_factory.mktemp("tables") / "store"))


def print_lines(*parts: RenderableType) -> list[str]:
    console = Console(width=160)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return [line.rstrip() for line in capture.get().splitlines()]


def print_plan(**overrides: Any) -> list[str]:
    planned = plan(load_sweep(PINNED / "tiny.yaml", overrides), storage=None)
    return print_lines(render_plan_table(planned.to_document(), planned.axes))


def test_small_plan_lists_every_trial() -> None:
    lines = print_plan()
    assert lines[0] == "Does another epoch help?"
    assert [line.split()[1:4] for line in lines if "opt-tiny-32" in line] == [
        ["opt-tiny-32", str(epochs), str(seed)] for epochs in (1, 2) for seed in (0, 1)
    ]
    assert "4 trials" in lines
    assert lines[-1].startswith("claim single-epoch: 1 epoch is enough")


def test_large_plan_lists_its_arms() -> None:
    lines = print_plan(**{"axes.seed": list(range(40))})
    arms = [line.split() for line in lines if line.startswith("opt-tiny-32")]
    assert [arm[:3] for arm in arms] == [["opt-tiny-32", "1", "40"], ["opt-tiny-32", "2", "40"]]
    assert "80 trials" in lines


def test_search_plan_counts_what_is_still_to_be_proposed(tmp_path: Path) -> None:
    planned = plan(load_sweep(PINNED / "looking.yaml"), tmp_path)
    lines = print_lines(render_plan_table(planned.to_document(), planned.axes))
    counts = next(line for line in lines if "trials: " in line)
    assert counts.startswith("6 trials: 1 unique + 3 search + 2 confirmation; search trials cost"), "the baseline too"


def test_cost_lines_of_a_finished_study_are_nothing(store: Path) -> None:
    document = plan(load_sweep(PINNED / "tiny.yaml"), store).to_document()
    work, cost, *_ = format_cost_lines(document)
    assert "4 trials reused, at no cost" in work
    assert cost.startswith("cost: nothing")


def test_claims_table_shows_the_reason_of_an_underpowered_claim() -> None:
    planned = plan(load_sweep(PINNED / "tiny.yaml"), storage=None)
    lines = print_lines(render_claims_table(planned.list_claims()))
    assert "underpowered: detecting 5 points needs 64 seeds" in " ".join(" ".join(lines).split())


def test_looks_have_one_line_in_the_unit_that_the_trials_use() -> None:
    hours = {"gpu_hours": 0.0, "cpu_hours": 2.0}
    price = {"expected": hours | {"cpu_hours": 1.25}, "worst": hours, "fixed": None}
    (line,) = format_look_price(price)
    assert line.plain == "until decided: 1.25 core-hours expected, 2 at most (simulated)"
    (line,) = format_look_price(price | {"worst": {"gpu_hours": 3.0, "cpu_hours": 9.0}, "fixed": hours})
    assert (
        line.plain == "until decided: 0 GPU-hours expected, 3 at most; without looks 0 for the same power (simulated)"
    )
    assert format_look_price(None) == []


def test_status_table_counts_trials_by_status_and_shows_failures(store: Path) -> None:
    rows = open_study("tiny", store).to_document()["trials"]
    failed = {**rows[0], "status": "FAILED", "failure": {"kind": "data", "message": "no [rows]", "traceback": ""}}
    lines = print_lines(render_status_table("tiny", [failed, *rows[1:]], ["num_train_epochs"]))
    assert "1 FAILED, 3 COMPLETE" in lines
    assert lines[-1] == f"{failed['fingerprint']}: data: no [rows]"


def test_part_lines_count_the_trials_of_each_sweep() -> None:
    lines = format_part_lines({"epochs": {"COMPLETE": 1200, "PENDING": 1}, "size": {"FAILED": 2}})
    assert [line.plain for line in lines] == ["epochs: 1,200 COMPLETE, 1 PENDING of 1,201", "size: 2 FAILED of 2"]


def test_search_table_has_one_line_per_proposal(store: Path) -> None:
    history = open_study("looking", store).read_search_history()
    lines = print_lines(render_search_table(history))
    assert sum("opt-tiny-32" in line for line in lines) == len(history["trials"])
    assert lines[-1].endswith("tpe, asha")


def test_simulation_table_names_what_it_did_not_simulate() -> None:
    claim = {"id": "c", "holds": True, "verdicts": {"supported": 0.5, "refuted": 0.0, "inconclusive": 0.5}}
    document = {
        "studies": 10,
        "queries": 60,
        "claims": [claim | {"coverage": None, "expected_seeds": 3.0}],
        "not_simulated": ["d"],
    }
    lines = print_lines(render_simulation_table(document))
    assert next(line.split() for line in lines if line.startswith("c ")) == [
        "c",
        "yes",
        "50.0%",
        "0.0%",
        "50.0%",
        "–",
        "3.0",
    ]
    assert lines[-1].endswith("pass rates): d")


def test_verdict_lines_end_with_the_caveat(store: Path, tmp_path: Path) -> None:
    report = open_study("tiny", store).report(tmp_path / "report.html")
    lines = print_lines(*render_verdict_lines(report.document))
    assert lines[0].startswith("single-epoch: INCONCLUSIVE")
    assert any(line.startswith("  Not established: ") for line in lines)
    assert "toy models" in " ".join(lines[-2:])


def test_claims_table_shows_the_margin_of_a_loss_in_nats() -> None:
    claim = (
        "claims=[{id: a, text: It is., kind: no-gain-beyond, metric: val_loss, axis: num_train_epochs, candidate: 1, "
    )
    planned = plan(load_sweep(PINNED / "tiny.yaml", [f"{claim}margin: 0.05}}]"]), storage=None)
    lines = print_lines(render_claims_table(planned.list_claims()))
    assert "0.05 nats" in " ".join(lines)
    assert "how much a loss spreads over seeds is not assumed" in " ".join(" ".join(lines).split())
