"""The W&B report as a plain description: whole without the package and without an account."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_tables import document
from wide_tables import long_document, wide_document

from sweeper.errors import UsageError
from sweeper.report import wandb as wandb_report

KEYS = {"heading": {"level", "text"}, "text": {"text"}, "table": {"columns", "rows"}, "panels": {"panels", "run_sets"}}


def kinds(spec: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [block for block in spec["blocks"] if block["kind"] == kind]


@pytest.mark.slow
@pytest.mark.parametrize("make", [document, wide_document, long_document])
def test_wandb_report_is_complete_plain_json(make: Any, tmp_path: Path) -> None:
    report = make()
    path = wandb_report.write_wandb_report(report, tmp_path)
    spec = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert path.name == "wandb_report.json" and spec == wandb_report.build_wandb_report(report)
    for block in spec["blocks"]:
        assert set(block) == KEYS[block["kind"]] | {"kind"}
    texts = {block["text"] for block in kinds(spec, "text")}
    assert {claim["sentence"] for claim in report["claims"]} <= texts
    assert {confound["text"] for confound in report["confounds"]} <= texts
    for table in kinds(spec, "table"):
        assert all(len(row) == len(table["columns"]) and all(isinstance(c, str) for c in row) for row in table["rows"])
        assert len(table["rows"]) <= wandb_report.MAX_TABLE_ROWS


@pytest.mark.slow
def test_run_sets_are_arms_or_groups_of_arms() -> None:
    few, many = wandb_report.build_wandb_report(document()), wandb_report.build_wandb_report(long_document())
    for panels in kinds(few, "panels"):
        assert [one["name"] for one in panels["run_sets"]] == [arm["label"] for arm in document()["arms"]]
        assert panels["run_sets"][1]["filters"] == {"model": "opt-tiny-32", "num_train_epochs": 3}
        assert all(one["group"] == "quickstart" for one in panels["run_sets"])
    for panels in kinds(many, "panels"):
        (one,) = panels["run_sets"]
        assert one["filters"] == {} and one["group_by"] == ["model", "learning_rate", "max_grad_norm"]


def test_sending_names_the_missing_package_or_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as without:
        without.setattr(importlib.util, "find_spec", lambda name: None)
        with pytest.raises(UsageError, match=re.escape("pip install 'sweeper[wandb-report]'")):
            wandb_report.push_wandb_report(document(), None, "sweeper")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(UsageError, match="no W&B account"):
        wandb_report.push_wandb_report(document(), None, "sweeper")


class Recorder:
    """Stands in for the package's module: every block it is asked for, with its arguments."""

    def __getattr__(self, name: str) -> Any:
        return lambda *given, **named: (name, given, named)


def test_every_block_has_a_wandb_counterpart() -> None:
    report = wide_document()
    spec = wandb_report.build_wandb_report(report)
    made = wandb_report.make_wandb_blocks(spec, Recorder(), "us", "sweeper")
    assert len(made) == len(spec["blocks"])
    grids = [named for name, _, named in made if name == "PanelGrid"]
    assert grids and len(grids) == len(kinds(spec, "panels"))
    for name, given, named in grids[0]["runsets"]:
        assert (name, given, named["entity"], named["project"]) == ("Runset", (), "us", "sweeper")
        # An expression of the package's own language, which is read as Python.
        ast.parse(named["filters"], mode="eval")
    assert "Config('max_grad_norm') == None" in grids[0]["runsets"][-1][2]["filters"] or len(report["arms"]) > 20


def test_names_are_quoted_and_escaped() -> None:
    nasty = "a'b\" or 1 | *x* <b>"
    report = json.loads(json.dumps(document()).replace("opt-tiny-96", nasty.replace('"', '\\"')))
    made = wandb_report.make_wandb_blocks(wandb_report.build_wandb_report(report), Recorder(), "us", "p")
    filters = [one[2]["filters"] for name, _, named in made if name == "PanelGrid" for one in named["runsets"]]
    values = {node.value for text in filters for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
    assert nasty in values
    for name, given, _ in made:
        if name == "MarkdownBlock":
            lines = given[0].splitlines()
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
            assert not any(re.search(r"(?<!\\)[<*]", line) for line in lines)


@pytest.mark.slow
def test_wandb_accepts_the_blocks() -> None:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    for report in (document(), wide_document(), long_document()):
        made = wandb_report.make_wandb_blocks(wandb_report.build_wandb_report(report), wr, "us", "sweeper")
        for block in made:
            if isinstance(block, wr.PanelGrid):
                for one in block.runsets:
                    assert expr.filters_tree_to_v2(expr.expr_to_filters(one.filters))
                for panel in block.panels:
                    panel._to_model()
            else:
                block._to_model()
