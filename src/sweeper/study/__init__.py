"""Plan, run, collect. It imports Ray only when a study runs on it."""

from sweeper.study.collect import StudyTables, collect, collect_parts, load_study
from sweeper.study.costs.preflight import first_predictions, on_hardware, price
from sweeper.study.placing.clusters import read_cluster
from sweeper.study.placing.forecast import cluster_document, cluster_lines
from sweeper.study.plan import Plan, PlannedTrial, plan_sweep
from sweeper.study.run import run_study
from sweeper.study.search import search_document

__all__ = [
    "Plan",
    "PlannedTrial",
    "StudyTables",
    "cluster_document",
    "cluster_lines",
    "collect",
    "collect_parts",
    "first_predictions",
    "load_study",
    "on_hardware",
    "plan_sweep",
    "price",
    "read_cluster",
    "run_study",
    "search_document",
]
