"""What the benchmarks say of their own figures."""

from __future__ import annotations

import importlib
import json
import sys
from types import ModuleType

import pytest


@pytest.fixture
def of_benchmarks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> dict[str, ModuleType]:
    """The two modules that the scripts share."""
    monkeypatch.syspath_prepend(str(request.config.rootpath / "benchmarks"))
    found = {name: importlib.import_module(name) for name in ("row", "run")}
    for name in found:
        monkeypatch.delitem(sys.modules, name)
    return found


def test_ratio_is_of_neighbours_and_the_aim_is_of_its_median(of_benchmarks: dict[str, ModuleType]) -> None:
    row = of_benchmarks["row"].Row("x", "s", [1.0, 4.0, 9.0], "a loop", [2.0, 2.0, 3.0], aim="<= 1.9")
    assert row.figures == [0.5, 2.0, 3.0]
    assert (row.middle, row.reached) == (2.0, False)
    alone = of_benchmarks["row"].Row("x", "examples/s", [3.0, 5.0], aim=">= 4")
    assert (alone.middle, alone.reached) == (4.0, True)
    assert of_benchmarks["row"].Row("x", "s", [1.0]).reached is None
    with pytest.raises(ValueError, match="shorter"):
        _ = of_benchmarks["row"].Row("x", "s", [1.0, 2.0], "a loop", [1.0]).figures


def test_last_line_is_what_the_table_is_drawn_from(
    of_benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    row, run = of_benchmarks["row"], of_benchmarks["run"]
    code = row.finish([row.Row("a study", "s", [3.0], "a loop", [2.0], aim="<= 1.2", limit=1.5, limit_is="the work")])
    assert code == 1, "an aim was missed"
    one = json.loads(capsys.readouterr().out.splitlines()[-1]) | {"command": "python x.py", "exit_code": code}
    nothing = {"rows": [], "command": "python y.py", "exit_code": -9}
    drawn = run.table({"machine": run.machine(), "benchmarks": {"x": one, "y": nothing}}, "today.json")
    assert "| a study | 3 s | a loop | 2 | 1.50 | <= 1.2 **missed** | 1.5 (the work) | `python x.py` |" in drawn
    assert "| **no result**, exit code -9 |" in drawn, "a benchmark that died is a row"


def test_each_benchmark_is_shown_from_the_newest_file_that_has_it(of_benchmarks: dict[str, ModuleType]) -> None:
    files = {
        "b.json": {"benchmarks": {"x": {"written": "2026-11-21 09:00"}, "y": {"written": "2026-11-21 09:05"}}},
        "a.json": {"benchmarks": {"x": {"written": "2026-11-22 09:00"}, "y": {"written": "2026-11-20 09:00"}, "z": {}}},
    }
    shown = of_benchmarks["run"].newest(files)
    assert {name: list(file["benchmarks"]) for name, file in shown.items()} == {"a.json": ["x", "z"], "b.json": ["y"]}


def test_every_benchmark_is_run(of_benchmarks: dict[str, ModuleType], request: pytest.FixtureRequest) -> None:
    scripts = {path.stem for path in (request.config.rootpath / "benchmarks").glob("*.py")}
    assert {name.split()[0] for name in of_benchmarks["run"].BENCHMARKS} == scripts - {"row", "run", "gpu"}
