"""Evaluation of a model as a tool-using agent: tasks, agent loop, environments, judges, outcomes. Needs no Ray.

Any object that continues episodes is an agent. With `evaluation, data = load_evaluation_spec("toolworld"),
load_data_spec("toolworld")` of `sweeper.config`, three lines run one:

tasks = load_tasks(evaluation, data)
environment = make_environment(evaluation, data)
episodes = run_episodes(tasks, agent, environment, evaluation)
"""

from sweeper.evaluation.agent_loop import run_episodes
from sweeper.evaluation.agents.base import Agent, AgentInput, Generation
from sweeper.evaluation.environments import Environment, Observation, make_environment
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.outcomes_table import read_outcomes
from sweeper.evaluation.suite_fingerprint import compute_suite_fingerprint
from sweeper.evaluation.summary import EvaluationSummary, extract_metrics, read_summary
from sweeper.evaluation.tasks import Task, load_evaluation_suite, load_tasks
from sweeper.evaluation.trial_evaluation import evaluate_trial

__all__ = [
    "Agent",
    "AgentInput",
    "Environment",
    "Episode",
    "EvaluationSummary",
    "Generation",
    "Observation",
    "Task",
    "compute_suite_fingerprint",
    "evaluate_trial",
    "extract_metrics",
    "load_evaluation_suite",
    "load_tasks",
    "make_environment",
    "read_outcomes",
    "read_summary",
    "run_episodes",
]
