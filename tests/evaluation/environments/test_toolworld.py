from __future__ import annotations

from sweeper.config import load_data_spec, load_evaluation_spec
from sweeper.evaluation.environments.toolworld import make_environment
from sweeper.evaluation.tasks import load_tasks

DATA = load_data_spec(
    "toolworld", toolworld={"train_queries": 4, "validation_queries": 2, "test_queries_per_subset": 1}
)
EVALUATION = load_evaluation_spec("toolworld")


def test_gold_calls_are_answered_as_the_world_does() -> None:
    environment = make_environment(EVALUATION, DATA)
    for task in load_tasks(EVALUATION, DATA):
        for name, arguments, response in environment.world.get_query(task.id).gold_calls:
            observation = environment.execute(task, name, arguments)
            assert (observation.text, observation.fault) == (response, None)


def test_call_with_wrong_arguments_is_an_observed_error() -> None:
    environment = make_environment(EVALUATION, DATA)
    task = load_tasks(EVALUATION, DATA)[0]
    name, _, response = environment.world.get_query(task.id).gold_calls[0]
    observation = environment.execute(task, name, {"no such argument": 1})
    assert observation.text != response
    assert observation.fault is None, "the tool itself answered"
