"""Plan, run, collect. The only room that imports Ray (and it does so only when a study runs on it)."""

from sweeper.study.collect import StudyTables, collect, load_study
from sweeper.study.plan import Plan, PlannedTrial, plan_sweep
from sweeper.study.run import run_study

__all__ = ["Plan", "PlannedTrial", "StudyTables", "collect", "load_study", "plan_sweep", "run_study"]
