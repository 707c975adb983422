"""Any OpenAI-compatible endpoint: requests at once, retried, paced, counted. Its faults are replies, not errors."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from sweeper.errors import UsageError

if TYPE_CHECKING:
    import openai

T = TypeVar("T")
NO_KEY = "none"
"""Sent where no key is set: local servers need none, and the client insists on one."""
SHORTEST_SECRET = 8
"""Shorter keys are placeholders ("EMPTY"): as words of an answer they are left alone."""
GIVE_UP_AFTER = 32
"""So many requests in a row without any reply, all tries spent: the rest of them are not asked."""
_PASSING = frozenset({408, 409, 429})
_LONGEST_BACKOFF = 16
"""Times the first delay."""
_QUOTED_CHARACTERS = 200


@dataclass(frozen=True)
class EndpointSettings:
    """Where to ask, and how. Holds the name of the key's environment variable, never the key.

    `url` is the base, such as `http://127.0.0.1:8000/v1`. `temperature` and `max_tokens` are not sent where None. A try
    ends after `timeout_seconds`; all tries of a request, with the delays between them, after `total_seconds`.
    `backoff_seconds` is the first delay and doubles; a server's Retry-After goes before it. Prices are money for a
    million tokens.
    """

    url: str
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float | None = 0.2
    max_tokens: int | None = 1024
    timeout_seconds: float = 60.0
    total_seconds: float = 600.0
    max_retries: int = 5
    backoff_seconds: float = 0.5
    concurrency: int = 16
    requests_per_minute: float | None = None
    input_price: float | None = None
    output_price: float | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username is not None or parts.query or parts.fragment:
            # Not quoted: what stands there may be a key, and urls are printed and recorded.
            raise UsageError(
                "endpoint url",
                found="a user name, a query or a fragment in it",
                do=f"give scheme, host and path alone; the key belongs in the environment variable {self.api_key_env}",
            )
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError("endpoint url", asked=self.url, found="no http address", do="such as http://host:8000/v1")
        for name in ("timeout_seconds", "total_seconds", "concurrency", "requests_per_minute", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"endpoint {name}", asked=str(value), do="give more than 0")
        for name in ("max_retries", "backoff_seconds"):
            if getattr(self, name) < 0:
                raise UsageError(f"endpoint {name}", asked=str(getattr(self, name)), do="give 0 or more")


@dataclass(frozen=True)
class Request:
    """One request: either `messages` (chat) or a `prompt` (completions)."""

    messages: Sequence[Mapping[str, Any]] = ()
    prompt: str | None = None
    response_format: Mapping[str, Any] | None = None
    stop: Sequence[str] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        if bool(self.messages) == (self.prompt is not None):
            raise UsageError("endpoint request", found="both or neither", do="give `messages` or `prompt`")


@dataclass(frozen=True)
class Reply:
    """What came back. `text` None: nothing did, and `reason` says why; '' is a reply without words."""

    text: str | None
    reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    tries: int = 1


@dataclass
class Usage:
    """What an endpoint was asked so far. `uncounted`: replies that did not tell their tokens; they miss below.

    `money` is None where no price is known.
    """

    requests: int = 0
    retries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    money: float | None = None


@dataclass(frozen=True)
class _Failure:
    """A try that brought nothing. `again`: another may; `wait`: the server named the delay."""

    reason: str
    again: bool
    wait: float | None = None


Ask = Callable[[Request], Awaitable[Reply]]
Job = Callable[[Ask], Coroutine[Any, Any, T]]
"""A course of requests that hang on each other, as a coroutine function that is given `ask`."""
Tell = Callable[[int, int], None]


class Endpoint:
    """An endpoint and what it has cost. Safe to share between calls, not between threads."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        priced = settings.input_price is not None and settings.output_price is not None
        self.usage = Usage(money=0.0 if priced else None)
        self._pace = _Pace(settings.requests_per_minute)
        self._failed_in_a_row, self._down = 0, ""
        self._secret()

    def __repr__(self) -> str:
        return f"Endpoint({self.settings.url!r}, {self.settings.model!r})"

    def ask(self, requests: Sequence[Request], tell: Tell | None = None) -> list[Reply]:
        """The replies, in order; all requests go out together. Never raises for a fault of the endpoint."""

        def job(request: Request) -> Job[Reply]:
            async def one(ask: Ask) -> Reply:
                return await ask(request)

            return one

        return self.run([job(request) for request in requests], tell)

    def run(self, jobs: Sequence[Job[T]], tell: Tell | None = None) -> list[T]:
        """Run all jobs together and give their results in order; `concurrency` holds over all their requests.

        `tell(done, total)` is called after each job. Raises what a job raises, which no fault of the endpoint makes.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._run(jobs, tell))
        with ThreadPoolExecutor(1) as pool:  # a notebook or an async actor: its loop is busy running us
            return pool.submit(asyncio.run, self._run(jobs, tell)).result()

    async def _run(self, jobs: Sequence[Job[T]], tell: Tell | None) -> list[T]:
        if not jobs:
            return []
        import openai

        self._failed_in_a_row, self._down = 0, ""  # asked anew, it may be up again

        secret = self._secret()
        gate = asyncio.Semaphore(self.settings.concurrency)
        done = 0
        # The client's own retries and timeout are off: it counts no tries, knows no pace, and waits for each byte anew.
        async with openai.AsyncOpenAI(
            api_key=secret.get_secret_value(), base_url=self.settings.url, max_retries=0, timeout=None
        ) as client:

            async def ask(request: Request) -> Reply:
                async with gate:
                    return await self._reply(client, request, secret)

            async def one(job: Job[T]) -> T:
                nonlocal done
                found = await job(ask)
                done += 1
                if tell is not None:
                    tell(done, len(jobs))
                return found

            return list(await asyncio.gather(*(one(job) for job in jobs)))

    async def _reply(self, client: openai.AsyncOpenAI, request: Request, secret: SecretStr) -> Reply:
        settings = self.settings
        begun, tries = time.monotonic(), 0
        self.usage.requests += 1
        if self._down:
            self.usage.failed += 1
            return Reply(None, self._down, tries=0)
        while True:
            begun += await self._pace.turn()  # standing in the queue is not the request's time
            tries += 1
            left = settings.total_seconds - (time.monotonic() - begun)
            found = await self._try(client, request, min(settings.timeout_seconds, max(left, 0.001)), secret)
            if isinstance(found, Reply):
                self._failed_in_a_row, self._down = 0, ""
                return self._count(found, tries)
            delay = found.wait
            if delay is None:
                # Jitter spreads requests that failed together.
                grown = settings.backoff_seconds * min(2.0 ** (tries - 1), _LONGEST_BACKOFF)
                delay = grown * (1 - 0.25 * random.random())  # noqa: S311
            reason = f"{found.reason}, {tries} {'try' if tries == 1 else 'tries'}"
            if found.again and tries <= settings.max_retries:
                if time.monotonic() - begun + delay < settings.total_seconds:
                    if found.wait is not None:
                        self._pace.hold(found.wait)
                    self.usage.retries += 1
                    await asyncio.sleep(delay)
                    continue
                asked = f"was asked to wait {delay:g} s, " if found.wait is not None else ""
                reason += f"; {asked}no time left of {settings.total_seconds:g} s"
            self.usage.failed += 1
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= max(GIVE_UP_AFTER, settings.concurrency):
                self._down = f"not asked: the last {self._failed_in_a_row} requests failed, the last by {reason}"
            return Reply(None, reason, tries=tries)

    def _count(self, reply: Reply, tries: int) -> Reply:
        usage, settings = self.usage, self.settings
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            usage.uncounted += 1
        prompt, completion = reply.prompt_tokens or 0, reply.completion_tokens or 0
        usage.prompt_tokens += prompt
        usage.completion_tokens += completion
        if usage.money is not None and settings.input_price is not None and settings.output_price is not None:
            usage.money += (prompt * settings.input_price + completion * settings.output_price) / 1e6
        return Reply(reply.text, reply.reason, reply.prompt_tokens, reply.completion_tokens, reply.finish_reason, tries)

    async def _try(
        self, client: openai.AsyncOpenAI, request: Request, seconds: float, secret: SecretStr
    ) -> Reply | _Failure:
        import openai

        path = "/completions" if request.prompt is not None else "/chat/completions"
        try:
            async with asyncio.timeout(seconds):
                document = await client.post(path, cast_to=object, body=self._body(request))
            if isinstance(document, str):  # JSON sent as another type
                document = json.loads(document)
        except TimeoutError:
            return _Failure(f"timeout after {seconds:.3g} s", again=True)
        except openai.APIStatusError as error:
            code = error.status_code
            wait = _retry_after(error.response.headers) if code >= 400 else None
            return _Failure(self._status(error, secret), again=code in _PASSING or code >= 500, wait=wait)
        except openai.OpenAIError as error:
            return _Failure(_connection(error, secret), again=True)
        except UnicodeEncodeError:
            return _Failure("the request holds characters that UTF-8 cannot write", again=False)
        except (ValueError, RecursionError):
            return _Failure("the reply is not JSON", again=True)
        return _read(document, request, secret)

    def _body(self, request: Request) -> dict[str, Any]:
        said: dict[str, Any] = {
            "model": self.settings.model,
            "messages": [dict(message) for message in request.messages] or None,
            "prompt": request.prompt,
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            "response_format": request.response_format,
            "stop": list(request.stop) or None,
            "seed": request.seed,
        }
        return {key: value for key, value in said.items() if value is not None}

    def _status(self, error: openai.APIStatusError, secret: SecretStr) -> str:
        code = error.status_code
        # The standard's phrase: the server's own may say anything.
        name = f"{code} {HTTPStatus(code).phrase}" if code in HTTPStatus._value2member_map_ else str(code)
        if code == HTTPStatus.UNAUTHORIZED:  # servers like to quote parts of the key here
            variable = f"the environment variable {self.settings.api_key_env}"
            if secret.get_secret_value() == NO_KEY:
                return f"{name}: the server asks for a key, and {variable} is not set: set it to the key"
            return f"{name}: the server refuses the key in {variable}"
        words = _words(error.body, secret)
        return f"{name}: {words}" if words else name

    def _secret(self) -> SecretStr:
        """The key, wrapped so that no repr or traceback shows it. Raises UsageError where no header can hold it."""
        key = os.environ.get(self.settings.api_key_env) or NO_KEY
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(
                f"environment variable {self.settings.api_key_env}",
                found="blanks, line ends or characters that a key cannot hold",
                do="set it to the key alone",
            )
        return SecretStr(key)


class _Pace:
    """When the next request may leave: evenly spaced, and after what any server asked to wait."""

    def __init__(self, per_minute: float | None) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = self._held = -math.inf

    async def turn(self) -> float:
        """Wait for one's turn. Returns the seconds it took."""
        begun = time.monotonic()
        while (wait := max(self._next, self._held) - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        now = time.monotonic()
        self._next = now + self._gap
        return now - begun

    def hold(self, seconds: float) -> None:
        """A server asked for rest: nobody leaves earlier."""
        self._held = max(self._held, time.monotonic() + seconds)


def _read(document: object, request: Request, secret: SecretStr) -> Reply | _Failure:
    """A reply from the document of a server that may be of any make."""
    choices = document.get("choices") if isinstance(document, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    said: Any = choice if request.prompt is not None else choice.get("message") if isinstance(choice, dict) else None
    key = "text" if request.prompt is not None else "content"
    if not isinstance(choice, dict) or not isinstance(said, dict) or not isinstance(said.get(key, 0), str | None):
        words = _words(document.get("error"), secret) if isinstance(document, dict) else ""
        return _Failure("the reply is incomplete" + (f": {words}" if words else ""), again=True)
    usage = document.get("usage") if isinstance(document, dict) else None
    prompt_tokens, completion_tokens = (
        count if isinstance(usage, dict) and isinstance(count := usage.get(f"{kind}_tokens"), int) else None
        for kind in ("prompt", "completion")
    )
    finish = choice.get("finish_reason")
    text = said[key] or ""
    if len(secret.get_secret_value()) >= SHORTEST_SECRET:
        text = _redacted(text, secret)
    return Reply(text, "", prompt_tokens, completion_tokens, finish if isinstance(finish, str) else None)


def _words(body: object, secret: SecretStr) -> str:
    """What the server said of its fault, in one line, without the key. Redacted before it is cut: no half of a key."""
    if body and isinstance(body, dict):
        body = body.get("message") or json.dumps(body)
    text = " ".join(_redacted(str(body or ""), secret).split())
    return text if len(text) <= _QUOTED_CHARACTERS else text[:_QUOTED_CHARACTERS] + " …"


def _redacted(text: str, secret: SecretStr) -> str:
    key = secret.get_secret_value()
    if key == NO_KEY:
        return text
    for form in (key, json.dumps(key)[1:-1], quote(key, safe="")):
        text = text.replace(form, "[key]")
    return text


def _connection(error: BaseException, secret: SecretStr) -> str:
    """Why no reply came, in the words of the deepest error: the outer ones say "Connection error."."""
    chain: list[BaseException] = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    for deep in reversed(chain):
        if isinstance(deep, ConnectionError) and deep.errno:
            return os.strerror(deep.errno).lower()
        if isinstance(deep, socket.gaierror | ssl.SSLError):
            return f"connection failed: {_redacted(str(deep.strerror or deep), secret)}"
    said = next((str(deep) for deep in chain[1:] if str(deep)), type(chain[-1]).__name__)
    return f"connection failed: {_words(said, secret)}"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait, from seconds, milliseconds or a date; None where it does not say."""
    for header, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        said = headers.get(header)
        if said is None:
            continue
        try:
            seconds = float(said) / scale
        except ValueError:
            try:
                date = parsedate_to_datetime(said)
            except ValueError:
                continue
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        if seconds > 0 and math.isfinite(seconds):
            return seconds
    return None
