"""Plan, run, collect. The only room that imports Ray (and it does so only when a study runs on it)."""

from sweeper.study.clusters import read_cluster
from sweeper.study.collect import StudyTables, collect, load_study
from sweeper.study.forecast import cluster_lines, forecast_document
from sweeper.study.plan import Plan, PlannedTrial, plan_sweep
from sweeper.study.run import run_study

__all__ = [
    "Plan",
    "PlannedTrial",
    "StudyTables",
    "cluster_lines",
    "collect",
    "forecast_document",
    "load_study",
    "plan_sweep",
    "read_cluster",
    "run_study",
]
