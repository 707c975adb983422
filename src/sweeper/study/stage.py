"""One trial's two stages, training and evaluation, as every backend runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sweeper import data, evaluate
from sweeper.spec import DataSpec, EvaluationSpec, TrialSpec
from sweeper.store import Store, write_json
from sweeper.study.plan import PlannedTrial
from sweeper.tracking import Tracker
from sweeper.trial import FAILED, failure_of, train_trial

Tell = Callable[[dict[str, Any]], None]


def run_trial(
    planned: PlannedTrial, evaluation: EvaluationSpec | None, store: Store, tracker: Tracker, tell: Tell
) -> dict[str, Any]:
    """Train and evaluate one planned trial, reusing what the store has. Returns its row; a failure is in the row.

    A failed evaluation never costs the training run: its own record, `evaluation/<suite>/failure.json`, says why.
    """
    spec, fingerprint = planned.spec, planned.fingerprint
    with tracker.trial(planned) as track:

        def told(progress: dict[str, Any]) -> None:
            track.log(progress)
            tell({"stage": "training", **progress})

        record = train_trial(spec, fingerprint, lambda: data.open_prepared(store.root, planned.data), store, told)
        row: dict[str, Any] = {"fingerprint": fingerprint, "status": record.status, "metrics": dict(record.metrics)}
        if record.status == FAILED or evaluation is None:
            row["failure"] = record.failure.message if record.failure else None
        else:
            tell({"stage": "evaluating"})
            row |= _evaluated(row, spec, fingerprint, evaluation, spec.data, store)
        track.finish(row, record)
    return row


def _evaluated(
    row: dict[str, Any],
    spec: TrialSpec,
    fingerprint: str,
    evaluation: EvaluationSpec,
    data_spec: DataSpec,
    store: Store,
) -> dict[str, Any]:
    threads = max(1, int(spec.runtime.cpus))
    failure_path = store.evaluation(fingerprint, evaluate.suite_fingerprint(evaluation, data_spec)) / "failure.json"
    try:
        summary = evaluate.evaluate_trial(store, fingerprint, evaluation, data_spec, seed=spec.seed, threads=threads)
    except Exception as error:  # kept as this trial's failure, so that the other trials go on
        failure = failure_of(error)
        write_json(failure_path, failure.model_dump())
        return {"status": FAILED, "failure": f"evaluation: {failure.message}"}
    failure_path.unlink(missing_ok=True)
    return {"metrics": row["metrics"] | {k: v for k, v in summary.items() if isinstance(v, int | float)}}
