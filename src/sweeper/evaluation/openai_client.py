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
NO_API_KEY = "none"
"""Sent where no key is set: local servers need none, and the client insists on one."""
MIN_SECRET_LENGTH = 8
"""Shorter keys are placeholders ("EMPTY"): as words of an answer they are left alone."""
MAX_CONSECUTIVE_FAILED_REQUESTS = 32
"""So many requests in a row without any reply, all tries spent: the rest of them are not asked."""
_TRANSIENT_STATUSES = frozenset({408, 409, 429})
_MAX_BACKOFF_FACTOR = 16
"""Times the first delay."""
_MAX_ERROR_CHARACTERS = 200


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
                hint=f"give scheme, host and path alone; the key belongs in the environment variable {self.api_key_env}",
            )
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(
                "endpoint url", requested=self.url, found="no http address", hint="such as http://host:8000/v1"
            )
        for name in ("timeout_seconds", "total_seconds", "concurrency", "requests_per_minute", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"endpoint {name}", requested=str(value), hint="give more than 0")
        for name in ("max_retries", "backoff_seconds"):
            if getattr(self, name) < 0:
                raise UsageError(f"endpoint {name}", requested=str(getattr(self, name)), hint="give 0 or more")


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
            raise UsageError("endpoint request", found="both or neither", hint="give `messages` or `prompt`")


@dataclass(frozen=True)
class Completion:
    """What came back. `text` None: nothing did, and `reason` says why; '' is a reply without words."""

    text: str | None
    reason: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    tries: int = 1


@dataclass
class EndpointUsage:
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
class _FailedTry:
    """A try that brought nothing. `again`: another may; `wait`: the server named the delay."""

    reason: str
    is_retryable: bool
    retry_after: float | None = None


SendRequest = Callable[[Request], Awaitable[Completion]]
RequestSequence = Callable[[SendRequest], Coroutine[Any, Any, T]]
"""A course of requests that hang on each other, as a coroutine function that is given `ask`."""
CountProgressCallback = Callable[[int, int], None]


class EndpointClient:
    """An endpoint and what it has cost. Safe to share between calls, not between threads."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        priced = settings.input_price is not None and settings.output_price is not None
        self.usage = EndpointUsage(money=0.0 if priced else None)
        self._rate_limiter = RateLimiter(settings.requests_per_minute)
        self._consecutive_failures, self._down_reason = 0, ""
        self._read_api_key()

    def __repr__(self) -> str:
        return f"Endpoint({self.settings.url!r}, {self.settings.model!r})"

    def send_requests(
        self, requests: Sequence[Request], on_progress: CountProgressCallback | None = None
    ) -> list[Completion]:
        """The replies, in order; all requests go out together. Never raises for a fault of the endpoint."""

        def job(request: Request) -> RequestSequence[Completion]:
            async def one(ask: SendRequest) -> Completion:
                return await ask(request)

            return one

        return self.run_sequences([job(request) for request in requests], on_progress)

    def run_sequences(
        self, sequences: Sequence[RequestSequence[T]], on_progress: CountProgressCallback | None = None
    ) -> list[T]:
        """Run all jobs together and give their results in order; `concurrency` holds over all their requests.

        `tell(done, total)` is called after each job. Raises what a job raises, which no fault of the endpoint makes.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._gather_sequences(sequences, on_progress))
        with ThreadPoolExecutor(1) as pool:  # a notebook or an async actor: its loop is busy running us
            return pool.submit(asyncio.run, self._gather_sequences(sequences, on_progress)).result()

    async def _gather_sequences(
        self, sequences: Sequence[RequestSequence[T]], on_progress: CountProgressCallback | None
    ) -> list[T]:
        if not sequences:
            return []
        import openai

        self._consecutive_failures, self._down_reason = 0, ""  # asked anew, it may be up again

        secret = self._read_api_key()
        gate = asyncio.Semaphore(self.settings.concurrency)
        done = 0
        # The client's own retries and timeout are off: it counts no tries, knows no pace, and waits for each byte anew.
        async with openai.AsyncOpenAI(
            api_key=secret.get_secret_value(), base_url=self.settings.url, max_retries=0, timeout=None
        ) as client:

            async def ask(request: Request) -> Completion:
                async with gate:
                    return await self._send_with_retries(client, request, secret)

            async def one(job: RequestSequence[T]) -> T:
                nonlocal done
                found = await job(ask)
                done += 1
                if on_progress is not None:
                    on_progress(done, len(sequences))
                return found

            return list(await asyncio.gather(*(one(job) for job in sequences)))

    async def _send_with_retries(self, client: openai.AsyncOpenAI, request: Request, secret: SecretStr) -> Completion:
        settings = self.settings
        begun, tries = time.monotonic(), 0
        self.usage.requests += 1
        if self._down_reason:
            self.usage.failed += 1
            return Completion(None, self._down_reason, tries=0)
        while True:
            begun += await self._rate_limiter.acquire()  # standing in the queue is not the request's time
            tries += 1
            left = settings.total_seconds - (time.monotonic() - begun)
            found = await self._send_once(client, request, min(settings.timeout_seconds, max(left, 0.001)), secret)
            if isinstance(found, Completion):
                self._consecutive_failures, self._down_reason = 0, ""
                return self._record_usage(found, tries)
            delay = found.retry_after
            if delay is None:
                # Jitter spreads requests that failed together.
                grown = settings.backoff_seconds * min(2.0 ** (tries - 1), _MAX_BACKOFF_FACTOR)
                delay = grown * (1 - 0.25 * random.random())  # noqa: S311
            reason = f"{found.reason}, {tries} {'try' if tries == 1 else 'tries'}"
            if found.is_retryable and tries <= settings.max_retries:
                if time.monotonic() - begun + delay < settings.total_seconds:
                    if found.retry_after is not None:
                        self._rate_limiter.pause(found.retry_after)
                    self.usage.retries += 1
                    await asyncio.sleep(delay)
                    continue
                asked = f"was asked to wait {delay:g} s, " if found.retry_after is not None else ""
                reason += f"; {asked}no time left of {settings.total_seconds:g} s"
            self.usage.failed += 1
            self._consecutive_failures += 1
            if self._consecutive_failures >= max(MAX_CONSECUTIVE_FAILED_REQUESTS, settings.concurrency):
                self._down_reason = (
                    f"not asked: the last {self._consecutive_failures} requests failed, the last by {reason}"
                )
            return Completion(None, reason, tries=tries)

    def _record_usage(self, reply: Completion, tries: int) -> Completion:
        usage, settings = self.usage, self.settings
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            usage.uncounted += 1
        prompt, completion = reply.prompt_tokens or 0, reply.completion_tokens or 0
        usage.prompt_tokens += prompt
        usage.completion_tokens += completion
        if usage.money is not None and settings.input_price is not None and settings.output_price is not None:
            usage.money += (prompt * settings.input_price + completion * settings.output_price) / 1e6
        return Completion(
            reply.text, reply.reason, reply.prompt_tokens, reply.completion_tokens, reply.finish_reason, tries
        )

    async def _send_once(
        self, client: openai.AsyncOpenAI, request: Request, seconds: float, secret: SecretStr
    ) -> Completion | _FailedTry:
        import openai

        path = "/completions" if request.prompt is not None else "/chat/completions"
        try:
            async with asyncio.timeout(seconds):
                document = await client.post(path, cast_to=object, body=self._make_body(request))
            if isinstance(document, str):  # JSON sent as another type
                document = json.loads(document)
        except TimeoutError:
            return _FailedTry(f"timeout after {seconds:.3g} s", is_retryable=True)
        except openai.APIStatusError as error:
            code = error.status_code
            wait = _parse_retry_after(error.response.headers) if code >= 400 else None
            return _FailedTry(
                self._describe_status_error(error, secret),
                is_retryable=code in _TRANSIENT_STATUSES or code >= 500,
                retry_after=wait,
            )
        except openai.OpenAIError as error:
            return _FailedTry(_describe_connection_error(error, secret), is_retryable=True)
        except UnicodeEncodeError:
            return _FailedTry("the request holds characters that UTF-8 cannot write", is_retryable=False)
        except (ValueError, RecursionError):
            return _FailedTry("the reply is not JSON", is_retryable=True)
        return _parse_completion(document, request, secret)

    def _make_body(self, request: Request) -> dict[str, Any]:
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

    def _describe_status_error(self, error: openai.APIStatusError, secret: SecretStr) -> str:
        code = error.status_code
        # The standard's phrase: the server's own may say anything.
        name = f"{code} {HTTPStatus(code).phrase}" if code in HTTPStatus._value2member_map_ else str(code)
        if code == HTTPStatus.UNAUTHORIZED:  # servers like to quote parts of the key here
            variable = f"the environment variable {self.settings.api_key_env}"
            if secret.get_secret_value() == NO_API_KEY:
                return f"{name}: the server asks for a key, and {variable} is not set: set it to the key"
            return f"{name}: the server refuses the key in {variable}"
        words = _extract_error_message(error.body, secret)
        return f"{name}: {words}" if words else name

    def _read_api_key(self) -> SecretStr:
        """The key, wrapped so that no repr or traceback shows it. Raises UsageError where no header can hold it."""
        key = os.environ.get(self.settings.api_key_env) or NO_API_KEY
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(
                f"environment variable {self.settings.api_key_env}",
                found="blanks, line ends or characters that a key cannot hold",
                hint="set it to the key alone",
            )
        return SecretStr(key)


class RateLimiter:
    """When the next request may leave: evenly spaced, and after what any server asked to wait."""

    def __init__(self, per_minute: float | None) -> None:
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._next_start = self._paused_until = -math.inf

    async def acquire(self) -> float:
        """Wait for one's turn. Returns the seconds it took."""
        begun = time.monotonic()
        while (wait := max(self._next_start, self._paused_until) - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        now = time.monotonic()
        self._next_start = now + self._interval
        return now - begun

    def pause(self, seconds: float) -> None:
        """A server asked for rest: nobody leaves earlier."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)


def _parse_completion(document: object, request: Request, secret: SecretStr) -> Completion | _FailedTry:
    """A reply from the document of a server that may be of any make."""
    choices = document.get("choices") if isinstance(document, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    said: Any = choice if request.prompt is not None else choice.get("message") if isinstance(choice, dict) else None
    key = "text" if request.prompt is not None else "content"
    if not isinstance(choice, dict) or not isinstance(said, dict) or not isinstance(said.get(key, 0), str | None):
        words = _extract_error_message(document.get("error"), secret) if isinstance(document, dict) else ""
        return _FailedTry("the reply is incomplete" + (f": {words}" if words else ""), is_retryable=True)
    usage = document.get("usage") if isinstance(document, dict) else None
    prompt_tokens, completion_tokens = (
        count if isinstance(usage, dict) and isinstance(count := usage.get(f"{kind}_tokens"), int) else None
        for kind in ("prompt", "completion")
    )
    finish = choice.get("finish_reason")
    text = said[key] or ""
    if len(secret.get_secret_value()) >= MIN_SECRET_LENGTH:
        text = _redact_key(text, secret)
    return Completion(text, "", prompt_tokens, completion_tokens, finish if isinstance(finish, str) else None)


def _extract_error_message(body: object, secret: SecretStr) -> str:
    """What the server said of its fault, in one line, without the key. Redacted before it is cut: no half of a key."""
    if body and isinstance(body, dict):
        body = body.get("message") or json.dumps(body)
    text = " ".join(_redact_key(str(body or ""), secret).split())
    return text if len(text) <= _MAX_ERROR_CHARACTERS else text[:_MAX_ERROR_CHARACTERS] + " …"


def _redact_key(text: str, secret: SecretStr) -> str:
    key = secret.get_secret_value()
    if key == NO_API_KEY:
        return text
    for form in (key, json.dumps(key)[1:-1], quote(key, safe="")):
        text = text.replace(form, "[key]")
    return text


def _describe_connection_error(error: BaseException, secret: SecretStr) -> str:
    """Why no reply came, in the words of the deepest error: the outer ones say "Connection error."."""
    chain: list[BaseException] = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    for deep in reversed(chain):
        if isinstance(deep, ConnectionError) and deep.errno:
            return os.strerror(deep.errno).lower()
        if isinstance(deep, socket.gaierror | ssl.SSLError):
            return f"connection failed: {_redact_key(str(deep.strerror or deep), secret)}"
    said = next((str(deep) for deep in chain[1:] if str(deep)), type(chain[-1]).__name__)
    return f"connection failed: {_extract_error_message(said, secret)}"


def _parse_retry_after(headers: Mapping[str, str]) -> float | None:
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
