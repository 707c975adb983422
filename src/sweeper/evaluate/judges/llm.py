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

from sweeper.errors import StoreError, UsageError
from sweeper.evaluate.answers import FINISH, Answer, ToolCall
from sweeper.evaluate.endpoint import Ask, Endpoint, Job, Request, Tell, Usage
from sweeper.evaluate.judges.vote import Vote
from sweeper.spec import read_plain
from sweeper.store import read_json, write_json

JUDGE_VERSION = 1
"""Raised when the code, rather than the prompts, changes what the judge says."""
TEXT_CHARACTERS = 4096
"""Of a thought, of arguments or of a response, the judge sees so many characters; ToolBench's own responses fit."""
GIVE_UP = "give_up_and_restart"
PROMPTS = Path(__file__).with_name("prompts.yaml")
Structured = Literal["json_schema", "json_object", "none"]

_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*)\n\s*```\s*", re.DOTALL | re.IGNORECASE)


def _lower(word: object) -> object:
    return word.strip().lower() if isinstance(word, str) else word


class _Said(BaseModel):
    """What a reply must hold. The reason comes first, so that the model thinks before it decides."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"additionalProperties": False})
    reason: str


class _AnswerStatus(_Said):
    status: Annotated[Literal["solved", "unsolved", "unsure"], BeforeValidator(_lower)]


class _TaskStatus(_Said):
    status: Annotated[Literal["solvable", "unsolvable", "unsure"], BeforeValidator(_lower)]


class _Better(_Said):
    better: Annotated[Literal["first", "second", "equal"], BeforeValidator(_lower)]


Choice = Literal["a", "b", "tie"]
_STRAIGHT: dict[str, Choice] = {"first": "a", "second": "b", "equal": "tie"}
_SWAPPED: dict[str, Choice] = {"first": "b", "second": "a", "equal": "tie"}
S = TypeVar("S", bound=_Said)
Heard = tuple[S | None, str]
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
        endpoint: Endpoint,
        *,
        votes: int = 4,
        structured: Structured = "json_schema",
        reply_tries: int = 3,
        cache: Path | None = None,
        tell: Tell | None = None,
    ) -> None:
        if votes < 1 or reply_tries < 1:
            raise UsageError("judge", asked=f"{votes} votes, {reply_tries} tries", do="give at least one of each")
        self._endpoint, self._votes, self._tries = endpoint, votes, reply_tries
        self._structured, self._cache, self._tell = structured, cache, tell
        self._heard = _Counts()
        settings = endpoint.settings
        # What a single reply hangs on; the number of votes comes on top.
        self._asked_of = {
            "judge": JUDGE_VERSION,
            "prompts": hashlib.sha256(PROMPTS.read_bytes()).hexdigest(),
            "url": settings.url,
            "model": settings.model,
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
        }
        self.name = f"llm:{settings.model}"
        identity = self._asked_of | {"votes": votes, "structured": structured, "reply_tries": reply_tries}
        self.identity = json.dumps({"kind": "llm"} | identity, sort_keys=True)

    @property
    def usage(self) -> Usage:
        """What judging has cost so far."""
        return self._endpoint.usage

    @property
    def silence(self) -> str:
        """Why, where every question so far brought nothing; '' where one brought something, or none was asked."""
        return "" if self._heard.answered else self._heard.fault

    @property
    def kept(self) -> int:
        """Judgements so far that need not be asked again: the cache has them."""
        return self._heard.kept

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """`votes` votes on each answer, in the order of `answers`. Never raises for a fault of the endpoint.

        Raises StoreError where the cache cannot be written.
        """
        asker = self._asker()

        def job(answer: Answer, vote: int) -> Job[Vote]:
            async def one(ask: Ask) -> Vote:
                return await self._vote(asker, ask, answer, vote)

            return one

        votes = self._endpoint.run([job(answer, k) for answer in answers for k in range(self._votes)], self._tell)
        return [votes[i : i + self._votes] for i in range(0, len(votes), self._votes)]

    def prefer(self, pairs: Sequence[tuple[Answer, Answer]]) -> list[Preference]:
        """Which of each two answers to the same query is better, asked in both orders: what changes with it is a tie.

        Raises UsageError for answers to different queries, StoreError where the cache cannot be written.
        """
        for a, b in pairs:
            if a.query != b.query:
                raise UsageError("judge", asked=f"which is better, {a.key} or {b.key}", found="two different queries")
        asker = self._asker()

        def job(a: Answer, b: Answer) -> Job[Preference]:
            async def one(ask: Ask) -> Preference:
                return await self._prefer(asker, ask, a, b)

            return one

        return self._endpoint.run([job(a, b) for a, b in pairs], self._tell)

    def _asker(self) -> _Asker:
        return _Asker(self._endpoint, self._asked_of, self._structured, self._tries, self._cache, self._heard)

    async def _vote(self, asker: _Asker, ask: Ask, answer: Answer, vote: int) -> Vote:
        final = final_text(answer)
        task: Literal["solvable", "unsolvable", "unsure"] | None = None
        status: Literal["solved", "unsolved", "unsure"]
        if not final:
            finished = answer.ended == "gave-up" or any(call.name == FINISH for call in answer.calls)
            status, reason = "unsolved", "gave up" if _gave_up(answer) else "no final answer"
            if not finished:
                return Vote(self.name, vote, status, reason)
        else:
            shown = [("query", answer.query), ("final answer", final)]
            said, fault = await asker.ask(ask, "answer_status", shown, _AnswerStatus, vote)
            if said is not None and said.status == "unsure":
                shown.insert(1, ("steps", _steps(answer)))
                said, fault = await asker.ask(ask, "steps_status", shown, _AnswerStatus, vote)
            if said is None:
                return Vote(self.name, vote, None, fault)
            status, reason = said.status, said.reason
        if status == "solved":
            return Vote(self.name, vote, status, reason, "solvable")
        shown = [("query", answer.query), ("tools", _tools(answer))]
        judged, fault = await asker.ask(ask, "task", shown, _TaskStatus, vote)
        if judged is not None:
            task = judged.status
        why = judged.reason if judged is not None else fault
        task_fault = "" if judged is not None else fault
        return Vote(self.name, vote, status, f"{reason}; task: {why}", task, task_fault=task_fault)

    async def _prefer(self, asker: _Asker, ask: Ask, a: Answer, b: Answer) -> Preference:
        if (a.steps, a.final_answer, a.ended) == (b.steps, b.final_answer, b.ended):
            return Preference("tie", "identical answers")

        def heard(first: Answer, second: Answer) -> Awaitable[Heard[_Better]]:
            shown = (("query", a.query), ("first", _whole(first)), ("second", _whole(second)))
            return asker.ask(ask, "better", shown, _Better, 0)

        (straight, fault), (swapped, other) = await asyncio.gather(heard(a, b), heard(b, a))
        if straight is None or swapped is None:
            return Preference(None, fault or other)
        one, two = _STRAIGHT[straight.better], _SWAPPED[swapped.better]
        if one == two:
            return Preference(one, straight.reason)
        return Preference("tie", f"{one} in one order, {two} in the other: {straight.reason} / {swapped.reason}")


@dataclass
class _Counts:
    """Questions that were answered, how many of these the cache keeps, and why the last of the others was not."""

    answered: int = 0
    kept: int = 0
    fault: str = ""


class _Asker:
    """Asks one thing once: from the cache, from what is being asked right now, or from the endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        asked_of: dict[str, Any],
        structured: Structured,
        tries: int,
        cache: Path | None,
        heard: _Counts,
    ) -> None:
        self._endpoint, self._asked_of, self._tries, self._cache = endpoint, asked_of, tries, cache
        self._structured, self._counts = structured, heard
        self._running: dict[str, asyncio.Task[Heard[Any]]] = {}

    async def ask(self, ask: Ask, step: str, sections: Sequence[tuple[str, str]], kind: type[S], vote: int) -> Heard[S]:
        """What the model says to a step, as `kind`."""
        messages = _messages(step, sections, kind)
        asked = self._asked_of | {
            "messages": messages,
            "response_format": _response_format(step, kind, self._structured),
            "vote": vote,
        }
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        if key not in self._running:
            self._running[key] = asyncio.ensure_future(self._counted(ask, asked, key, kind))
        return await self._running[key]

    async def _counted(self, ask: Ask, asked: dict[str, Any], key: str, kind: type[S]) -> Heard[S]:
        said, fault = await self._ask(ask, asked, key, kind)
        if said is None:
            self._counts.fault = fault
        else:
            self._counts.answered += 1
            self._counts.kept += self._cache is not None
        return said, fault

    async def _ask(self, ask: Ask, asked: dict[str, Any], key: str, kind: type[S]) -> Heard[S]:
        path = self._cache / key[:2] / f"{key}.json" if self._cache is not None else None
        kept = _kept(path, key, kind) if path is not None else None
        if kept is not None:
            return kept, ""
        fault = ""
        for attempt in range(self._tries):
            # The same seed may well bring the same broken reply.
            seed = 1000 * asked["vote"] + attempt
            reply = await ask(Request(asked["messages"], response_format=asked["response_format"], seed=seed))
            if reply.text is None:
                return None, reply.reason
            try:
                said = _parsed(reply.text, kind)
            except ValidationError as error:
                cut = " (cut at max_tokens)" if reply.finish_reason == "length" else ""
                fault = f"no usable reply{cut}: {_fault(error)} (asked {attempt + 1} of {self._tries} times)"
                continue
            if path is not None:
                record = {
                    "key": key,
                    "text": reply.text,
                    "model": asked["model"],
                    "url": asked["url"],
                    "vote": asked["vote"],
                    "seed": seed,
                    "prompt_tokens": reply.prompt_tokens,
                    "completion_tokens": reply.completion_tokens,
                }
                await asyncio.to_thread(_keep, path, record)  # flushing to disk would hold up every other vote
            return said, ""
        return None, fault


def final_text(answer: Answer) -> str:
    """What the person is told: '' where there is nothing, or where the answer gave up (ToolEval's rule for both)."""
    text = answer.final_answer.strip()
    if _gave_up(answer):
        return ""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(said, dict) and ("final_answer" in said or "return_type" in said):
        inner = said.get("final_answer")
        return inner.strip() if isinstance(inner, str) else "" if inner is None else json.dumps(inner)
    return text


def _gave_up(answer: Answer) -> bool:
    return answer.ended == "gave-up" or GIVE_UP in answer.final_answer


def _steps(answer: Answer) -> str:
    return _json([_step(step) for step in answer.steps])


def _whole(answer: Answer) -> str:
    return _json({"final_answer": final_text(answer), "steps": [_step(step) for step in answer.steps]})


def _step(step: str | ToolCall) -> dict[str, Any]:
    if isinstance(step, str):
        return {"thought": _short(step)}
    said = {"call": step.name, "arguments": _short(step.arguments), "response": _short(step.response)}
    return said | ({"cut": True} if step.cut else {})


def _tools(answer: Answer) -> str:
    return _json([function for function in answer.functions if function.get("name") != FINISH])


def _short(text: str) -> str:
    left = len(text) - TEXT_CHARACTERS
    return text if left <= 0 else f"{text[:TEXT_CHARACTERS]} [{left} more characters]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1)


def _messages(step: str, sections: Sequence[tuple[str, str]], kind: type[_Said]) -> list[dict[str, str]]:
    """Instructions as the system's message, data as the user's. Their mark is their hash: no text can hold its own."""
    prompts = _prompts()
    word = "better" if kind is _Better else "status"
    words = ", ".join(f'"{w}"' for w in _schema(kind)["properties"][word]["enum"])
    # Lone surrogates, which JSON can spell and UTF-8 cannot write, become question marks.
    written = [(name, text.encode("utf-8", "replace").decode()) for name, text in sections]
    mark = hashlib.sha256(json.dumps(written).encode()).hexdigest()[:16]
    shown = "\n".join(f"[[{name} {mark}]]\n{text}\n[[/{name} {mark}]]" for name, text in written)
    system = "\n".join((prompts["common"], prompts[step], prompts["reply"][word].rstrip() + f" {words}."))
    return [{"role": "system", "content": system}, {"role": "user", "content": shown}]


def _response_format(step: str, kind: type[_Said], structured: Structured) -> dict[str, Any] | None:
    if structured == "none":
        return None
    if structured == "json_object":
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {"name": step, "strict": True, "schema": _schema(kind)},
    }


@remembered
def _schema(kind: type[_Said]) -> dict[str, Any]:
    return kind.model_json_schema()


def _parsed(text: str, kind: type[S]) -> S:
    """Raises ValidationError."""
    fenced = _FENCE.fullmatch(text)
    return kind.model_validate_json(fenced[1] if fenced else text)


def _fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join((*map(str, first["loc"]), first["msg"]))


def _kept(path: Path, key: str, kind: type[S]) -> S | None:
    """What the cache holds; None where it holds nothing, or nothing usable."""
    if not path.exists():
        return None
    try:
        record = read_json(path)
        return _parsed(record["text"], kind) if record["key"] == key else None
    except (StoreError, ValidationError, KeyError, TypeError):
        return None


def _keep(path: Path, record: dict[str, Any]) -> None:
    try:
        write_json(path, record)
    except OSError as error:
        raise StoreError(f"judge's cache {path}", found=f"cannot be written: {error}") from error


@remembered
def _prompts() -> dict[str, Any]:
    return read_plain(PROMPTS)
