"""A language model as judge: ToolEval's sequence of checks, several votes on each answer, every reply kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from sweeper.config import read_yaml_as_dict
from sweeper.errors import StoreError, UsageError
from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges.base import Vote
from sweeper.evaluation.openai_client import (
    CountProgressCallback,
    EndpointClient,
    EndpointUsage,
    Request,
    RequestSequence,
    SendRequest,
)
from sweeper.storage import read_json, write_json

JUDGE_VERSION = 1
"""Raised when the code, rather than the prompts, changes what the judge says."""
MAX_SHOWN_CHARACTERS = 4096
"""Of a thought, of arguments or of a response, the judge sees so many characters; ToolBench's own responses fit."""
GIVE_UP = "give_up_and_restart"
PROMPTS_PATH = Path(__file__).with_name("prompts.yaml")
StructuredOutputMode = Literal["json_schema", "json_object", "none"]

_FENCE_PATTERN = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL | re.IGNORECASE)


def _lowercase_word(word: object) -> object:
    return word.strip().lower() if isinstance(word, str) else word


class _JudgeReply(BaseModel):
    """What a reply must hold. The reason comes first, so that the model thinks before it decides."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"additionalProperties": False})
    reason: str


class _AnswerStatus(_JudgeReply):
    status: Annotated[Literal["solved", "unsolved", "unsure"], BeforeValidator(_lowercase_word)]


class _TaskStatus(_JudgeReply):
    status: Annotated[Literal["solvable", "unsolvable", "unsure"], BeforeValidator(_lowercase_word)]


class _Better(_JudgeReply):
    better: Annotated[Literal["first", "second", "equal"], BeforeValidator(_lowercase_word)]


Choice = Literal["a", "b", "tie"]
_CHOICE_IN_ORDER: dict[str, Choice] = {"first": "a", "second": "b", "equal": "tie"}
_CHOICE_IN_SWAPPED_ORDER: dict[str, Choice] = {"first": "b", "second": "a", "equal": "tie"}
S = TypeVar("S", bound=_JudgeReply)
ReplyOrFault = tuple[S | None, str]
"""What was said; or None, and why nothing was."""


@dataclass(frozen=True)
class Preference:
    """Which of two answers, `a` and `b`, is better. `choice` None: the judge did not say, and `reason` tells why."""

    choice: Choice | None
    reason: str


class LlmJudge:
    """Judges with the model behind an endpoint.

    An answer that is empty or gave up is unsolved without asking. Else the query and the final answer are shown; only
    where that leaves the model unsure, the steps too. Where the result is not solved, the model is asked whether the
    offered tools can solve the query at all; as in ToolEval not so for an answer that never came to `Finish`. An
    answered query is solvable. Votes are asked with seeds of their own. A reply that is not the JSON asked for is
    asked again, `reply_tries` times in all; then the vote is unscored. `cache`: a folder; what it holds is not asked.
    `tell(done, total)` counts votes.
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
        # What a single reply hangs on; the number of votes comes on top.
        self._request_identity = {
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
        """What judging has cost so far."""
        return self._endpoint.usage

    @property
    def failure_reason(self) -> str:
        """Why, where every question so far brought nothing; '' where one brought something, or none was asked."""
        return "" if self._counts.usable else self._counts.last_fault

    @property
    def cached_count(self) -> int:
        """Judgements so far that need not be asked again: the cache has them."""
        return self._counts.cached

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """`votes` votes on each answer, in the order of `answers`. Never raises for a fault of the endpoint.

        Raises StoreError where the cache cannot be written.
        """
        asker = self._make_reply_cache()

        def job(answer: Answer, vote: int) -> RequestSequence[Vote]:
            async def one(ask: SendRequest) -> Vote:
                return await self._cast_vote(asker, ask, answer, vote)

            return one

        votes = self._endpoint.run_sequences(
            [job(answer, k) for answer in answers for k in range(self._votes)], self._on_progress
        )
        return [votes[i : i + self._votes] for i in range(0, len(votes), self._votes)]

    def prefer(self, pairs: Sequence[tuple[Answer, Answer]]) -> list[Preference]:
        """Which of each two answers to the same query is better, asked in both orders: what changes with it is a tie.

        Raises UsageError for answers to different queries, StoreError where the cache cannot be written.
        """
        for a, b in pairs:
            if a.query != b.query:
                raise UsageError(
                    "judge", requested=f"which is better, {a.key} or {b.key}", found="two different queries"
                )
        asker = self._make_reply_cache()

        def job(a: Answer, b: Answer) -> RequestSequence[Preference]:
            async def one(ask: SendRequest) -> Preference:
                return await self._compare_pair(asker, ask, a, b)

            return one

        return self._endpoint.run_sequences([job(a, b) for a, b in pairs], self._on_progress)

    def _make_reply_cache(self) -> _ReplyCache:
        return _ReplyCache(
            self._endpoint, self._request_identity, self._structured, self._max_tries, self._cache, self._counts
        )

    async def _cast_vote(self, reply_cache: _ReplyCache, send: SendRequest, answer: Answer, vote: int) -> Vote:
        final = extract_final_text(answer)
        task: Literal["solvable", "unsolvable", "unsure"] | None = None
        status: Literal["solved", "unsolved", "unsure"]
        if not final:
            finished = answer.ended == "gave-up" or any(call.name == FINISH for call in answer.calls)
            status, reason = "unsolved", "gave up" if _has_given_up(answer) else "no final answer"
            if not finished:
                return Vote(self.name, vote, status, reason)
        else:
            shown = [("query", answer.query), ("final answer", final)]
            said, fault = await reply_cache.get_reply(send, "answer_status", shown, _AnswerStatus, vote)
            if said is not None and said.status == "unsure":
                shown.insert(1, ("steps", _format_steps(answer)))
                said, fault = await reply_cache.get_reply(send, "steps_status", shown, _AnswerStatus, vote)
            if said is None:
                return Vote(self.name, vote, None, fault)
            status, reason = said.status, said.reason
        if status == "solved":
            return Vote(self.name, vote, status, reason, "solvable")
        shown = [("query", answer.query), ("tools", _format_tools(answer))]
        judged, fault = await reply_cache.get_reply(send, "task", shown, _TaskStatus, vote)
        if judged is not None:
            task = judged.status
        why = judged.reason if judged is not None else fault
        task_fault = "" if judged is not None else fault
        return Vote(self.name, vote, status, f"{reason}; task: {why}", task, task_fault=task_fault)

    async def _compare_pair(self, reply_cache: _ReplyCache, send: SendRequest, a: Answer, b: Answer) -> Preference:
        if (a.steps, a.final_answer, a.ended) == (b.steps, b.final_answer, b.ended):
            return Preference("tie", "identical answers")

        def heard(first: Answer, second: Answer) -> Awaitable[ReplyOrFault[_Better]]:
            shown = (("query", a.query), ("first", _format_answer(first)), ("second", _format_answer(second)))
            return reply_cache.get_reply(send, "better", shown, _Better, 0)

        (straight, fault), (swapped, other) = await asyncio.gather(heard(a, b), heard(b, a))
        if straight is None or swapped is None:
            return Preference(None, fault or other)
        one, two = _CHOICE_IN_ORDER[straight.better], _CHOICE_IN_SWAPPED_ORDER[swapped.better]
        if one == two:
            return Preference(one, straight.reason)
        return Preference("tie", f"{one} in one order, {two} in the other: {straight.reason} / {swapped.reason}")


@dataclass
class _ReplyCounts:
    """Questions that were answered, how many of these the cache keeps, and why the last of the others was not."""

    usable: int = 0
    cached: int = 0
    last_fault: str = ""


class _ReplyCache:
    """Asks one thing once: from the cache, from what is being asked right now, or from the endpoint."""

    def __init__(
        self,
        endpoint: EndpointClient,
        request_identity: dict[str, Any],
        structured: StructuredOutputMode,
        max_tries: int,
        cache: Path | None,
        counts: _ReplyCounts,
    ) -> None:
        self._endpoint, self._request_identity, self._max_tries, self._cache = (
            endpoint,
            request_identity,
            max_tries,
            cache,
        )
        self._structured, self._counts = structured, counts
        self._in_flight: dict[str, asyncio.Task[ReplyOrFault[Any]]] = {}

    async def get_reply(
        self, send: SendRequest, step: str, sections: Sequence[tuple[str, str]], reply_type: type[S], vote: int
    ) -> ReplyOrFault[S]:
        """What the model says to a step, as `kind`."""
        messages = _make_messages(step, sections, reply_type)
        asked = self._request_identity | {
            "messages": messages,
            "response_format": _make_response_format(step, reply_type, self._structured),
            "vote": vote,
        }
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        if key not in self._in_flight:
            self._in_flight[key] = asyncio.ensure_future(self._fetch_and_count(send, asked, key, reply_type))
        return await self._in_flight[key]

    async def _fetch_and_count(
        self, send: SendRequest, request_fields: dict[str, Any], key: str, reply_type: type[S]
    ) -> ReplyOrFault[S]:
        said, fault = await self._fetch_reply(send, request_fields, key, reply_type)
        if said is None:
            self._counts.last_fault = fault
        else:
            self._counts.usable += 1
            self._counts.cached += self._cache is not None
        return said, fault

    async def _fetch_reply(
        self, send: SendRequest, request_fields: dict[str, Any], key: str, reply_type: type[S]
    ) -> ReplyOrFault[S]:
        path = self._cache / key[:2] / f"{key}.json" if self._cache is not None else None
        kept = _read_cached_reply(path, key, reply_type) if path is not None else None
        if kept is not None:
            return kept, ""
        fault = ""
        for attempt in range(self._max_tries):
            # The same seed may well bring the same broken reply.
            seed = 1000 * request_fields["vote"] + attempt
            reply = await send(
                Request(request_fields["messages"], response_format=request_fields["response_format"], seed=seed)
            )
            if reply.text is None:
                return None, reply.reason
            try:
                said = _parse_reply(reply.text, reply_type)
            except ValidationError as error:
                cut = " (cut at max_tokens)" if reply.finish_reason == "length" else ""
                fault = f"no usable reply{cut}: {_describe_validation_error(error)} (asked {attempt + 1} of {self._max_tries} times)"
                continue
            if path is not None:
                record = {
                    "key": key,
                    "text": reply.text,
                    "model": request_fields["model"],
                    "url": request_fields["url"],
                    "vote": request_fields["vote"],
                    "seed": seed,
                    "prompt_tokens": reply.prompt_tokens,
                    "completion_tokens": reply.completion_tokens,
                }
                await asyncio.to_thread(
                    _write_cached_reply, path, record
                )  # flushing to disk would hold up every other vote
            return said, ""
        return None, fault


def extract_final_text(answer: Answer) -> str:
    """What the person is told: '' where there is nothing, or where the answer gave up (ToolEval's rule for both)."""
    text = answer.final_answer.strip()
    if _has_given_up(answer):
        return ""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(said, dict) and ("final_answer" in said or "return_type" in said):
        inner = said.get("final_answer")
        return inner.strip() if isinstance(inner, str) else "" if inner is None else json.dumps(inner)
    return text


def _has_given_up(answer: Answer) -> bool:
    return answer.ended == "gave-up" or GIVE_UP in answer.final_answer


def _format_steps(answer: Answer) -> str:
    return _format_json([_describe_step(step) for step in answer.steps])


def _format_answer(answer: Answer) -> str:
    return _format_json(
        {"final_answer": extract_final_text(answer), "steps": [_describe_step(step) for step in answer.steps]}
    )


def _describe_step(step: str | ToolCall) -> dict[str, Any]:
    if isinstance(step, str):
        return {"thought": _truncate_text(step)}
    said = {"call": step.name, "arguments": _truncate_text(step.arguments), "response": _truncate_text(step.response)}
    return said | ({"cut": True} if step.cut else {})


def _format_tools(answer: Answer) -> str:
    return _format_json([function for function in answer.functions if function.get("name") != FINISH])


def _truncate_text(text: str) -> str:
    left = len(text) - MAX_SHOWN_CHARACTERS
    return text if left <= 0 else f"{text[:MAX_SHOWN_CHARACTERS]} [{left} more characters]"


def _format_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _make_messages(
    step: str, sections: Sequence[tuple[str, str]], reply_type: type[_JudgeReply]
) -> list[dict[str, str]]:
    """Instructions as the system's message, data as the user's. Their mark is their hash: no text can hold its own."""
    prompts = _load_prompts()
    word = "better" if reply_type is _Better else "status"
    words = ", ".join(f'"{w}"' for w in _make_reply_schema(reply_type)["properties"][word]["enum"])
    # Lone surrogates, which JSON can spell and UTF-8 cannot write, become question marks.
    written = [(name, text.encode("utf-8", "replace").decode()) for name, text in sections]
    mark = hashlib.sha256(json.dumps(written).encode()).hexdigest()[:16]
    shown = "\n".join(f"[[{name} {mark}]]\n{text}\n[[/{name} {mark}]]" for name, text in written)
    system = "\n".join((prompts["common"], prompts[step], prompts["reply"][word].rstrip() + f" {words}."))
    return [{"role": "system", "content": system}, {"role": "user", "content": shown}]


def _make_response_format(
    step: str, reply_type: type[_JudgeReply], structured: StructuredOutputMode
) -> dict[str, Any] | None:
    if structured == "none":
        return None
    if structured == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {"name": step, "strict": True, "schema": _make_reply_schema(reply_type)},
    }


@remembered
def _make_reply_schema(reply_type: type[_JudgeReply]) -> dict[str, Any]:
    return reply_type.model_json_schema()


def _parse_reply(text: str, reply_type: type[S]) -> S:
    """Raises ValidationError."""
    fenced = _FENCE_PATTERN.fullmatch(text)
    return reply_type.model_validate_json(fenced[1] if fenced else text)


def _describe_validation_error(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join((*map(str, first["loc"]), first["msg"]))


def _read_cached_reply(path: Path, key: str, reply_type: type[S]) -> S | None:
    """What the cache holds; None where it holds nothing, or nothing usable."""
    if not path.exists():
        return None
    try:
        record = read_json(path)
        return _parse_reply(record["text"], reply_type) if record["key"] == key else None
    except (StoreError, ValidationError, KeyError, TypeError):
        return None


def _write_cached_reply(path: Path, record: dict[str, Any]) -> None:
    try:
        write_json(path, record)
    except OSError as error:
        raise StoreError(f"judge's cache {path}", found=f"cannot be written: {error}") from error


@remembered
def _load_prompts() -> dict[str, Any]:
    return read_yaml_as_dict(PROMPTS_PATH)
