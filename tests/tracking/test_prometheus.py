"""Metrics of trials and studies, and their agreement with dashboard and alerts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from expressions import FOLDER, NODE_METRICS, alerts, dashboard, metrics_in, panel_queries

from sweeper.config.yaml_lines import read_yaml_as_dict
from sweeper.storage import Store
from sweeper.tracking import METRICS, TRIAL_STATUSES, StudyMetrics, Tracker
from sweeper.tracking import prometheus as metrics
from sweeper.training import Failure, TrainingProgress, TrialProgress, TrialRow

EXPORTED = {metric.prometheus_name for metric in METRICS.values()}


def planned(fingerprint: str = "a1", gpus: float = 0.5, workers: int = 1) -> Any:
    runtime = SimpleNamespace(gpus=gpus, workers=workers)
    spec = SimpleNamespace(model=SimpleNamespace(name="opt-tiny-32"), seed=3, runtime=runtime)
    return SimpleNamespace(fingerprint=fingerprint, spec=spec)


LABELS = {"study": "s", "trial": "a1", "model": "opt-tiny-32", "seed": "3"}


class TestFiles:
    def test_dashboard_shows_exactly_the_exported_metrics(self) -> None:
        shown = set().union(*(metrics_in(query) for query in panel_queries().values()))
        assert shown == EXPORTED | NODE_METRICS
        (variable,) = [v for v in dashboard()["templating"]["list"] if v["name"] == "study"]
        assert metrics_in(variable["definition"]) <= EXPORTED

    def test_alerts_use_exported_metrics(self) -> None:
        used = set().union(*(metrics_in(expression) for expression in alerts().values()))
        assert used <= EXPORTED | NODE_METRICS

    def test_dashboard_queries_filter_by_study(self) -> None:
        for panel in dashboard()["panels"]:
            for target in panel["targets"]:
                assert ('study=~"$study"' in target["expr"]) == bool(metrics_in(target["expr"]) - NODE_METRICS)

    def test_dashboard_panels_have_unique_ids_and_do_not_overlap(self) -> None:
        panels = dashboard()["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        places: set[tuple[int, int]] = set()
        for panel in panels:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & places, panel["title"]
            assert at["x"] + at["w"] <= 24
            places |= cells

    def test_status_codes_agree_in_dashboard_alerts_and_code(self) -> None:
        (trials,) = [panel for panel in dashboard()["panels"] if panel["title"] == "Trials"]
        (mapping,) = trials["fieldConfig"]["defaults"]["mappings"]
        assert {int(code): shown["text"] for code, shown in mapping["options"].items()} == dict(
            enumerate(TRIAL_STATUSES)
        )
        expressions = alerts()
        assert f"ray_sweeper_trial_status) == {TRIAL_STATUSES.index('TRAINING')}" in expressions["SweeperTrialStalled"]
        assert expressions["SweeperTrialDiverged"].endswith(f"== {TRIAL_STATUSES.index('DIVERGED')}")
        codes = ", ".join(f"{code} {status.lower()}" for code, status in enumerate(TRIAL_STATUSES))
        assert codes in (FOLDER / "alerts.yaml").read_text()

    def test_statuses_cover_those_of_records(self) -> None:
        from sweeper.training.record import Failure, TrialRecord

        assert set(TrialRecord.model_fields["status"].annotation.__args__) <= set(TRIAL_STATUSES)
        assert {*Failure.model_fields["kind"].annotation.__args__, "unknown"} == set(metrics.FAILURE_KINDS)

    def test_rule_files_of_the_configuration_exist(self) -> None:
        for name in read_yaml_as_dict(FOLDER / "prometheus.yaml")["rule_files"]:
            assert (FOLDER / name).is_file()


class TestPromtool:
    def run(self, promtool: str, *words: str) -> None:
        done = subprocess.run([promtool, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_configuration_is_valid(self, promtool: str) -> None:
        self.run(promtool, "check", "config", str(FOLDER / "prometheus.yaml"))

    def test_alert_rules_are_valid(self, promtool: str) -> None:
        self.run(promtool, "check", "rules", str(FOLDER / "alerts.yaml"))

    def test_alerts_fire_as_expected(self, promtool: str) -> None:
        tests = Path(__file__).with_name("alerts_test.yaml")
        assert all(f"alertname: {name}" in tests.read_text() for name in alerts())
        self.run(promtool, "test", "rules", str(tests))


class FakeRay:
    """Records what would be published to Ray."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, tuple[str, ...]], float] = {}

    def metric(self, name: str) -> Any:
        def record(value: float, tags: dict[str, str], *, add: bool) -> None:
            assert tuple(tags) == METRICS[name].labels
            key = (name, tuple(tags.values()))
            self.values[key] = value + (self.values.get(key, 0.0) if add else 0.0)

        return SimpleNamespace(
            set=lambda value, tags: record(value, tags, add=False),
            inc=lambda value, tags: record(value, tags, add=True),
        )

    def get(self, name: str) -> dict[tuple[str, ...], float]:
        return {labels: value for (metric, labels), value in self.values.items() if metric == name}


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    fake = FakeRay()
    monkeypatch.setattr(metrics, "_is_ray_initialized", lambda: True)
    monkeypatch.setattr(metrics, "_get_ray_metric", fake.metric)
    return fake


class TestTrialMetrics:
    def test_log_publishes_progress_and_gpu_seconds(
        self, ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        with Tracker("none", "s", Store(tmp_path)).open_trial(planned(gpus=0.5, workers=4)) as track:
            track.log(TrainingProgress(1, 9, loss=2.5, learning_rate=0.1))
            track.log(TrainingProgress(2, 9, loss=float("nan"), val_loss=3.0))
            clock[0] += 10
        labels = tuple(LABELS.values())
        assert {name for name, _ in ray.values} == {"step", "steps", "val_loss", "gpu_seconds"}, "NaN is not published"
        assert ray.values["step", labels] == 2
        assert ray.values["gpu_seconds", labels] == 20

    def test_evaluation_tracker_counts_one_workers_gpus(
        self, ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr(metrics, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        with Tracker("none", "s", Store(tmp_path)).make_evaluation_tracker().open_trial(planned(gpus=1, workers=4)):
            clock[0] += 10
        assert list(ray.get("gpu_seconds").values()) == [10]

    def test_gauges_are_republished_until_the_trial_ends(
        self, ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import time

        monkeypatch.setattr(metrics, "PUBLISH_INTERVAL_SECONDS", 0.01)
        with Tracker("none", "s", Store(tmp_path)).open_trial(planned()) as track:
            track.log(TrainingProgress(1, 9))
            for _ in range(3):
                ray.values.clear()
                until = time.monotonic() + 20
                while not ray.get("step") and time.monotonic() < until:
                    time.sleep(0.01)
                assert ray.get("step")
        ray.values.clear()
        time.sleep(0.1)
        assert not ray.values

    def test_nothing_is_published_or_imported_without_ray(self, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from types import SimpleNamespace as N\n"
            "from sweeper.storage import Store; from sweeper.tracking import Tracker, StudyMetrics\n"
            "from sweeper.training.progress import TrainingProgress\n"
            "spec = N(model=N(name='m'), seed=0, runtime=N(gpus=1, workers=1))\n"
            f"tracker = Tracker('none', 's', Store(Path({str(tmp_path)!r})))\n"
            "with tracker.open_trial(N(fingerprint='f', spec=spec)) as track:\n"
            "    track.log(TrainingProgress(1, 9, loss=2.0))\n"
            "with StudyMetrics().publishing(): pass\n"
            "import threading; print('ray' in sys.modules, threading.active_count())"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
        assert (done.stdout.strip(), done.stderr) == ("False 1", "")

    def test_failed_publication_does_not_fail_the_trial(
        self, ray: FakeRay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def broken(name: str) -> Any:
            raise RuntimeError("no agent")

        monkeypatch.setattr(metrics, "_get_ray_metric", broken)
        with Tracker("none", "s", Store(tmp_path)).open_trial(planned()) as track:
            track.log(TrainingProgress(1, 9))
        assert "Prometheus: not published: no agent" in capsys.readouterr().err


class TestStudyMetrics:
    def study(self, tmp_path: Path) -> StudyMetrics:
        study = StudyMetrics()
        trials = {name: planned(name) for name in ("a", "b", "c", "d")}
        study.start("s", trials, {"a": "DIVERGED"}, tmp_path)
        return study

    def counts(self, ray: FakeRay) -> dict[str, int]:
        return {labels[1]: int(value) for labels, value in ray.get("study_trials").items() if value}

    def test_every_planned_trial_has_a_status(self, ray: FakeRay, tmp_path: Path) -> None:
        study = self.study(tmp_path)
        with study.publishing():
            assert self.counts(ray) == {"DIVERGED": 1, "WAITING": 3}
        study.on_progress("b", TrialProgress("training", TrainingProgress(1, 9)))
        study.on_progress("c", TrialProgress("evaluating"))
        study.on_progress("c", TrialProgress("waiting for storage"))
        study.on_trial_end(TrialRow("d", "COMPLETE", {"pass_rate": 0.25}))
        with study.publishing():
            pass
        assert self.counts(ray) == {"DIVERGED": 1, "TRAINING": 1, "EVALUATING": 1, "COMPLETE": 1}
        status = {labels[1]: TRIAL_STATUSES[int(value)] for labels, value in ray.get("trial_status").items()}
        assert status == {"a": "DIVERGED", "b": "TRAINING", "c": "EVALUATING", "d": "COMPLETE"}
        assert {labels[1]: value for labels, value in ray.get("pass_rate").items()} == {"d": 0.25}
        assert 0 < ray.values["store_free_bytes", ("s",)] < ray.values["store_size_bytes", ("s",)]

    def test_failures_are_counted_by_kind_and_streak(self, ray: FakeRay, tmp_path: Path) -> None:
        study = self.study(tmp_path)
        failure = Failure(kind="out-of-memory", message="", traceback="")
        for row in (TrialRow.failed("a", failure), TrialRow.failed("b", failure), TrialRow("c", "FAILED")):
            study.on_trial_end(row)
        with study.publishing():
            assert ray.values["study_failure_streak", ("s",)] == 3
        study.on_trial_end(TrialRow("d", "COMPLETE"))
        with study.publishing():
            pass
        failures = {labels[1]: value for labels, value in ray.get("study_failures").items()}
        zero = dict.fromkeys(("lost-worker", "bad-input", "damaged", "diverged", "bug"), 0)
        assert failures == {"out-of-memory": 2, "unknown": 1} | zero
        assert ray.values["study_failure_streak", ("s",)] == 0

    def test_unplanned_trial_is_ignored(self, ray: FakeRay, tmp_path: Path) -> None:
        study = self.study(tmp_path)
        study.on_progress("x", TrialProgress("training"))
        study.on_trial_end(TrialRow("x", "COMPLETE", {"pass_rate": 1.0}))
        with study.publishing():
            assert not any(labels[1] == "x" for labels in ray.get("trial_status"))

    def test_unavailable_store_affects_only_its_own_gauges(self, ray: FakeRay, tmp_path: Path) -> None:
        study = self.study(tmp_path / "gone")
        with study.publishing():
            assert not ray.get("store_free_bytes")
            assert self.counts(ray)
