"""The judge `llm`: ToolEval's sequence of checks by a language model, with several votes and a cache of replies."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar, assert_never, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from sweeper.config import read_yaml_as_dict
from sweeper.errors import StoreError, UsageError
from sweeper.evaluation.answers import FINISH, Answer
from sweeper.evaluation.judge_replies import describe_validation_error, parse_reply
from sweeper.evaluation.judges._answer_text import (
    extract_final_text,
    format_answer,
    format_steps,
    format_tools,
    has_given_up,
)
from sweeper.evaluation.judges.base import (
    AnswerStatus,
    Choice,
    Judge,
    JudgeContext,
    Preference,
    TaskStatus,
    Vote,
)
from sweeper.evaluation.openai_client import (
    Completion,
    CountProgressCallback,
    EndpointClient,
    EndpointSettings,
    EndpointUsage,
    Request,
    RequestSequence,
    SendRequest,
)
from sweeper.storage import read_json, replace_surrogates, write_json

JUDGE_VERSION = 1
"""Increased when the code, rather than the prompts, changes a judgement."""
PROMPTS_PATH = Path(__file__).with_name("prompts.yaml")
StructuredOutputMode = Literal["json_schema", "json_object", "none"]


def _lowercase_word(word: object) -> object:
    return word.strip().lower() if isinstance(word, str) else word


class _JudgeReply(BaseModel):
    """Contents of a reply. The reason comes first, so that the model reasons before it decides."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"additionalProperties": False})
    reason: str


# Pydantic writes the names of these classes into the JSON schema, which is part of the cache key: do not rename them.
class _AnswerStatus(_JudgeReply):
    status: Annotated[Literal["solved", "unsolved", "unsure"], BeforeValidator(_lowercase_word)]


class _TaskStatus(_JudgeReply):
    status: Annotated[Literal["solvable", "unsolvable", "unsure"], BeforeValidator(_lowercase_word)]


class _Better(_JudgeReply):
    better: Annotated[Literal["first", "second", "equal"], BeforeValidator(_lowercase_word)]


_CHOICE_IN_ORDER: dict[str, Choice] = {"first": "a", "second": "b", "equal": "tie"}
_CHOICE_IN_SWAPPED_ORDER: dict[str, Choice] = {"first": "b", "second": "a", "equal": "tie"}
S = TypeVar("S", bound=_JudgeReply)


@dataclass(frozen=True)
class _ReplyResult(Generic[S]):
    """A parsed reply, or None and the reason why there is none."""

    reply: S | None
    fault: str = ""


class LlmJudge(Judge):
    """Judges with the model behind an endpoint.

    An empty answer, or one that gave up, is unsolved without a request. Otherwise the model sees the query and the
    final answer, and the steps as well if that leaves it unsure. If the result is not `solved`, a further request
    decides whether the offered tools can solve the query at all; as in ToolEval, not for an answer that never called
    `Finish`. The query of a solved answer is solvable. Each vote has its own seeds.

    Args:
        endpoint: where the model is served.
        votes: votes on each answer.
        structured: how the endpoint is made to reply in JSON.
        reply_tries: requests for one reply until it is the JSON required; then the vote is unscored.
        cache: folder of replies; a reply stored there is not requested again.
        on_progress: called with (votes cast, votes in total).
    """

    def __init__(
        self,
        endpoint: EndpointClient,
        *,
        votes: int = 4,
        structured: StructuredOutputMode = "json_schema",
        reply_tries: int = 3,
        cache: Path | None = None,
        on_progress: CountProgressCallback | None = None,
    ) -> None:
        if votes < 1 or reply_tries < 1:
            raise UsageError("judge", requested=f"{votes} votes, {reply_tries} tries", hint="give at least one of each")
        self._endpoint, self._votes, self._max_tries = endpoint, votes, reply_tries
        self._structured, self._cache, self._on_progress = structured, cache, on_progress
        self._counts = _ReplyCounts()
        settings = endpoint.settings
        # What determines a single reply; the number of votes is no part of it.
        self._request_identity: dict[str, object] = {
            "judge": JUDGE_VERSION,
            "prompts": hashlib.sha256(PROMPTS_PATH.read_bytes()).hexdigest(),
            "url": settings.url,
            "model": settings.model,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
        }
        self.name = f"llm:{settings.model}"
        identity = self._request_identity | {"votes": votes, "structured": structured, "reply_tries": reply_tries}
        self.identity = json.dumps({"kind": "llm"} | identity, sort_keys=True)

    @property
    def usage(self) -> EndpointUsage:
        """Requests and tokens so far."""
        return self._endpoint.usage

    @property
    def failure_reason(self) -> str:
        """Why no request so far was successful; '' where one was, or where none was sent."""
        return "" if self._counts.usable else self._counts.last_fault

    @property
    def cached_count(self) -> int:
        """Number of judgements so far that are stored in the cache."""
        return self._counts.cached

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """Return the votes on each answer, in the order of `answers`. A failing endpoint does not raise.

        Raises:
            StoreError: the cache cannot be written.
        """
        cache = self._make_reply_cache()

        def make_sequence(answer: Answer, vote: int) -> RequestSequence[Vote]:
            return lambda send: self._cast_vote(cache, send, answer, vote)

        votes = self._endpoint.run_sequences(
            [make_sequence(answer, k) for answer in answers for k in range(self._votes)], self._on_progress
        )
        return [votes[i : i + self._votes] for i in range(0, len(votes), self._votes)]

    def prefer(self, pairs: Sequence[tuple[Answer, Answer]]) -> list[Preference]:
        """Return which of two answers to one query is better, for each pair.

        The model sees each pair in both orders. A preference that changes with the order is a tie.

        Raises:
            UsageError: a pair of answers to different queries.
            StoreError: the cache cannot be written.
        """
        for a, b in pairs:
            if a.query != b.query:
                raise UsageError(
                    "judge", requested=f"which is better, {a.key} or {b.key}", found="two different queries"
                )
        cache = self._make_reply_cache()

        def make_sequence(a: Answer, b: Answer) -> RequestSequence[Preference]:
            return lambda send: self._compare_pair(cache, send, a, b)

        return self._endpoint.run_sequences([make_sequence(a, b) for a, b in pairs], self._on_progress)

    def _make_reply_cache(self) -> _ReplyCache:
        return _ReplyCache(self._request_identity, self._structured, self._max_tries, self._cache, self._counts)

    async def _cast_vote(self, reply_cache: _ReplyCache, send: SendRequest, answer: Answer, vote: int) -> Vote:
        final = extract_final_text(answer)
        status: AnswerStatus
        if not final:
            finished = answer.ended == "gave-up" or any(call.name == FINISH for call in answer.calls)
            status, reason = "unsolved", "gave up" if has_given_up(answer) else "no final answer"
            if not finished:
                return Vote(self.name, vote, status, reason)
        else:
            sections = [("query", answer.query), ("final answer", final)]
            judged = await reply_cache.get_reply(send, "answer_status", sections, _AnswerStatus, vote)
            if judged.reply is not None and judged.reply.status == "unsure":
                sections.insert(1, ("steps", format_steps(answer)))
                judged = await reply_cache.get_reply(send, "steps_status", sections, _AnswerStatus, vote)
            if judged.reply is None:
                return Vote(self.name, vote, None, judged.fault)
            status, reason = judged.reply.status, judged.reply.reason
        if status == "solved":
            return Vote(self.name, vote, status, reason, "solvable")
        sections = [("query", answer.query), ("tools", format_tools(answer))]
        task = await reply_cache.get_reply(send, "task", sections, _TaskStatus, vote)
        task_status: TaskStatus | None = None if task.reply is None else task.reply.status
        why = task.fault if task.reply is None else task.reply.reason
        return Vote(self.name, vote, status, f"{reason}; task: {why}", task_status, task_fault=task.fault)

    async def _compare_pair(self, reply_cache: _ReplyCache, send: SendRequest, a: Answer, b: Answer) -> Preference:
        if (a.steps, a.final_answer, a.ended) == (b.steps, b.final_answer, b.ended):
            return Preference("tie", "identical answers")

        def request_order(first: Answer, second: Answer) -> Awaitable[_ReplyResult[_Better]]:
            sections = (("query", a.query), ("first", format_answer(first)), ("second", format_answer(second)))
            return reply_cache.get_reply(send, "better", sections, _Better, 0)

        straight, swapped = await asyncio.gather(request_order(a, b), request_order(b, a))
        if straight.reply is None or swapped.reply is None:
            return Preference(None, straight.fault or swapped.fault)
        one, two = _CHOICE_IN_ORDER[straight.reply.better], _CHOICE_IN_SWAPPED_ORDER[swapped.reply.better]
        if one == two:
            return Preference(one, straight.reply.reason)
        reasons = f"{straight.reply.reason} / {swapped.reply.reason}"
        return Preference("tie", f"{one} in one order, {two} in the other: {reasons}")


def make_judge(context: JudgeContext) -> LlmJudge:
    """Build the judge of `context.llm`.

    Raises:
        UsageError: no endpoint is configured.
    """
    spec = context.llm
    if spec is None:
        raise UsageError(
            "judge llm", found="no endpoint", hint="set `llm:`, or --judge-endpoint URL and --judge-model NAME"
        )
    settings = EndpointSettings(
        url=spec.url,
        model=spec.model,
        temperature=spec.temperature,
        concurrency=spec.concurrency,
        requests_per_minute=spec.requests_per_minute,
        timeout_seconds=spec.timeout_seconds,
        input_price=spec.input_price,
        output_price=spec.output_price,
    )
    return LlmJudge(
        EndpointClient(settings),
        votes=spec.votes,
        structured=spec.structured,
        cache=context.cache,
        on_progress=context.on_progress,
    )


@dataclass
class _ReplyCounts:
    """Counts of usable replies, of those stored in the cache, and the last fault."""

    usable: int = 0
    cached: int = 0
    last_fault: str = ""


@dataclass(frozen=True)
class _ReplyRequest(Generic[S]):
    """A request for one reply. Its key is a hash of everything that determines the reply."""

    identity: dict[str, object]
    messages: list[dict[str, str]]
    response_format: dict[str, object] | None
    vote: int
    reply_type: type[S]

    @functools.cached_property
    def key(self) -> str:
        """SHA-256, in hex digits."""
        fields = {"messages": self.messages, "response_format": self.response_format, "vote": self.vote}
        return hashlib.sha256(json.dumps(self.identity | fields, sort_keys=True).encode()).hexdigest()

    def make_record(self, completion: Completion, seed: int) -> dict[str, object]:
        """Make the document that the cache stores."""
        return {
            "key": self.key,
            "text": completion.text,
            "model": self.identity["model"],
            "url": self.identity["url"],
            "vote": self.vote,
            "seed": seed,
            "prompt_tokens": completion.prompt_tokens,
            "completion_tokens": completion.completion_tokens,
        }


@dataclass
class _ReplyCache:
    """Gets each reply once: from the cache folder, from a request in flight, or from the endpoint."""

    request_identity: dict[str, object]
    structured: StructuredOutputMode
    max_tries: int
    folder: Path | None
    counts: _ReplyCounts
    _in_flight: dict[str, asyncio.Task[_ReplyResult[_JudgeReply]]] = field(default_factory=dict)

    async def get_reply(
        self, send: SendRequest, step: str, sections: Sequence[tuple[str, str]], reply_type: type[S], vote: int
    ) -> _ReplyResult[S]:
        """Return the model's reply to the prompt of `step`, with `sections` as its data."""
        request = _ReplyRequest(
            self.request_identity,
            _make_messages(step, sections, reply_type),
            _make_response_format(step, reply_type, self.structured),
            vote,
            reply_type,
        )
        if request.key not in self._in_flight:
            task = asyncio.ensure_future(self._fetch_and_count(send, request))
            self._in_flight[request.key] = cast("asyncio.Task[_ReplyResult[_JudgeReply]]", task)
        return cast("_ReplyResult[S]", await self._in_flight[request.key])

    async def _fetch_and_count(self, send: SendRequest, request: _ReplyRequest[S]) -> _ReplyResult[S]:
        result = await self._fetch_reply(send, request)
        if result.reply is None:
            self.counts.last_fault = result.fault
        else:
            self.counts.usable += 1
            self.counts.cached += self.folder is not None
        return result

    async def _fetch_reply(self, send: SendRequest, request: _ReplyRequest[S]) -> _ReplyResult[S]:
        path = self.folder / request.key[:2] / f"{request.key}.json" if self.folder is not None else None
        cached = _read_cached_reply(path, request) if path is not None else None
        if cached is not None:
            return _ReplyResult(cached)
        fault = ""
        for attempt in range(self.max_tries):
            seed = 1000 * request.vote + attempt  # the same seed would probably give the same unusable reply
            completion = await send(Request(request.messages, response_format=request.response_format, seed=seed))
            if completion.text is None:
                return _ReplyResult(None, completion.reason)
            try:
                reply = parse_reply(completion.text, request.reply_type)
            except ValidationError as error:
                cut = " (cut at max_tokens)" if completion.finish_reason == "length" else ""
                tries = f"try {attempt + 1} of {self.max_tries}"
                fault = f"no usable reply{cut}: {describe_validation_error(error)} ({tries})"
                continue
            if path is not None:  # in a thread: flushing to disk would delay every other vote
                await asyncio.to_thread(_write_cached_reply, path, request.make_record(completion, seed))
            return _ReplyResult(reply)
        return _ReplyResult(None, fault)


def _make_messages(
    step: str, sections: Sequence[tuple[str, str]], reply_type: type[_JudgeReply]
) -> list[dict[str, str]]:
    """Make the messages: instructions by the system, data by the user.

    The sections are marked with a hash of their own text, which no text can contain.
    """
    prompts = _load_prompts()
    word = "better" if reply_type is _Better else "status"
    allowed = _make_reply_schema(reply_type)["properties"][word]["enum"]
    words = ", ".join(f'"{w}"' for w in allowed)
    written = [(name, replace_surrogates(text)[0]) for name, text in sections]
    mark = hashlib.sha256(json.dumps(written).encode()).hexdigest()[:16]
    data = "\n".join(f"[[{name} {mark}]]\n{text}\n[[/{name} {mark}]]" for name, text in written)
    system = "\n".join((prompts["common"], prompts[step], prompts["reply"][word].rstrip() + f" {words}."))
    return [{"role": "system", "content": system}, {"role": "user", "content": data}]


def _make_response_format(
    step: str, reply_type: type[_JudgeReply], structured: StructuredOutputMode
) -> dict[str, object] | None:
    match structured:
        case "none":
            return None
        case "json_object":
            return {"type": "json_object"}
        case "json_schema":
            schema = {"name": step, "strict": True, "schema": _make_reply_schema(reply_type)}
            return {"type": "json_schema", "json_schema": schema}
        case _:
            assert_never(structured)


@functools.cache
def _make_reply_schema(reply_type: type[_JudgeReply]) -> dict[str, Any]:
    return reply_type.model_json_schema()


def _read_cached_reply(path: Path, request: _ReplyRequest[S]) -> S | None:
    """Read a reply from the cache; None where there is none, or none that is usable."""
    if not path.exists():
        return None
    try:
        record = read_json(path)
        return parse_reply(record["text"], request.reply_type) if record["key"] == request.key else None
    except (StoreError, ValidationError, KeyError, TypeError):
        return None


def _write_cached_reply(path: Path, record: dict[str, object]) -> None:
    try:
        write_json(path, record)
    except OSError as error:
        raise StoreError(f"judge's cache {path}", found=f"cannot be written: {error}") from error


@functools.cache
def _load_prompts() -> dict[str, Any]:
    return read_yaml_as_dict(PROMPTS_PATH)
