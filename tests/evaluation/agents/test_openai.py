from __future__ import annotations

from chat_server import ChatServer, Said

from sweeper.config import load_data_spec, load_evaluation_spec
from sweeper.evaluation.agents.base import AgentInput
from sweeper.evaluation.agents.openai import EPISODES_PER_BATCH, STOP_SEQUENCES, OpenAIAgent
from sweeper.evaluation.openai_client import EndpointSettings
from sweeper.evaluation.tasks import load_tasks

DATA = load_data_spec(
    "toolworld", toolworld={"train_queries": 4, "validation_queries": 2, "test_queries_per_subset": 1}
)
TASKS = load_tasks(load_evaluation_spec("toolworld"), DATA)
TURNS = (("assistant", "Action: look"), ("function", "nothing"))


def make_agent(url: str, protocol: str = "chat") -> OpenAIAgent:
    settings = EndpointSettings(url=url, model="m", temperature=0.0, max_tokens=9, concurrency=2)
    return OpenAIAgent(settings, DATA, protocol=protocol, seed=7)  # type: ignore[arg-type]


def test_chat_sends_observations_as_messages_of_the_user() -> None:
    with ChatServer(lambda seen: Said("next")) as server:
        (generation,) = make_agent(server.url).generate([AgentInput(TASKS[0], TURNS)])
    body = server.seen[0].body
    assert (generation.text, generation.tokens) == ("next", 5)
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "user"]
    assert body["messages"][-1]["content"] == "Function: nothing"
    assert (tuple(body["stop"]), body["seed"]) == (STOP_SEQUENCES, 7)


def test_completions_sends_the_prompt_of_the_training_format() -> None:
    with ChatServer(lambda seen: Said("next")) as server:
        make_agent(server.url, "completions").generate([AgentInput(TASKS[0], TURNS)])
    prompt = server.seen[0].body["prompt"]
    assert server.seen[0].path.endswith("/completions")
    assert TASKS[0].query in prompt and prompt.endswith("Assistant:")


def test_refused_request_ends_the_episode_as_unreachable() -> None:
    with ChatServer(lambda seen: Said(status=401, document={"error": {"message": "no key"}})) as server:
        (generation,) = make_agent(server.url).generate([AgentInput(TASKS[0], ())])
    assert (generation.text, generation.end_reason) == (None, "unreachable")
    assert server.url in generation.reason


def test_batches_keep_the_order_of_the_tasks() -> None:
    batches = make_agent("http://127.0.0.1:1/v1").batches(TASKS * 100)
    assert [task for batch in batches for task in batch] == TASKS * 100
    assert {len(batch) for batch in batches[:-1]} == {EPISODES_PER_BATCH}
