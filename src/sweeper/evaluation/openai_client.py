"""Client of OpenAI-compatible endpoints: concurrent requests with retries, a rate limit and usage counts.

A fault of an endpoint is returned as a `Completion` without text; it is not raised.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import math
import os
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

from sweeper.errors import UsageError
from sweeper.evaluation.parameter_refusals import ParameterRefusals
from sweeper.evaluation.rate_limiter import RateLimiter
from sweeper.proxies import find_route
from sweeper.storage import replace_surrogates

if TYPE_CHECKING:
    import openai

T = TypeVar("T")
NO_API_KEY = "none"
"""Sent where no key is set: local servers need none, but the client requires one."""
MIN_SECRET_LENGTH = 8
"""Shorter keys are placeholders ("EMPTY") and are not redacted from replies."""
MAX_CONSECUTIVE_FAILED_REQUESTS = 32
"""After this many failed requests in a row, all tries used, the remaining requests are skipped."""
_TRANSIENT_STATUSES = frozenset({408, 409, 429})
_MAX_BACKOFF_FACTOR = 16
"""Longest delay between tries, in units of the first."""
_MAX_ERROR_CHARACTERS = 200


@dataclass(frozen=True)
class EndpointSettings:
    """An endpoint and how it is used. Holds the name of the key's environment variable, never the key."""

    url: str
    """Base URL, such as `http://127.0.0.1:8000/v1`."""
    model: str
    api_key_env: str = "OPENAI_API_KEY"
    temperature: float | None = 0.2
    """Not sent where None."""
    max_tokens: int | None = 1024
    """Not sent where None."""
    timeout_seconds: float = 60.0
    """Limit of one try."""
    total_seconds: float = 600.0
    """Limit of all tries of a request, with the delays between them."""
    max_retries: int = 5
    backoff_seconds: float = 0.5
    """First delay; it doubles with every try. A server's Retry-After has precedence."""
    concurrency: int = 16
    """Requests in flight at once."""
    requests_per_minute: float | None = None
    input_price: float | None = None
    """Price of a million input tokens, in any currency."""
    output_price: float | None = None
    """Price of a million output tokens."""

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username is not None or parts.query or parts.fragment:
            # Not quoted: it may contain a key, and URLs are printed and recorded.
            raise UsageError(
                "endpoint url",
                found="a user name, a query or a fragment",
                hint=f"give scheme, host and path only, and the key in the environment variable {self.api_key_env}",
            )
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(
                "endpoint url", requested=self.url, found="not an http address", hint="such as http://host:8000/v1"
            )
        for name in ("timeout_seconds", "total_seconds", "concurrency", "requests_per_minute", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise UsageError(f"endpoint {name}", requested=str(value), hint="a number above 0")
        for name in ("max_retries", "backoff_seconds"):
            if getattr(self, name) < 0:
                raise UsageError(f"endpoint {name}", requested=str(getattr(self, name)), hint="0 or more")


@dataclass(frozen=True)
class Request:
    """One request: either `messages` (chat) or a `prompt` (completions)."""

    messages: Sequence[Mapping[str, str]] = ()
    prompt: str | None = None
    response_format: Mapping[str, object] | None = None
    stop: Sequence[str] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        if bool(self.messages) == (self.prompt is not None):
            raise UsageError("endpoint request", found="both or neither", hint="give either `messages` or `prompt`")


@dataclass(frozen=True)
class Completion:
    """The reply to a request, or why there is none."""

    text: str | None
    """None where there is no reply; '' is an empty one."""
    reason: str = ""
    """Why there is no reply."""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None
    tries: int = 1


@dataclass
class EndpointUsage:
    """Usage of an endpoint so far."""

    requests: int = 0
    retries: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Replies without token counts, which are missing from the numbers above and from `cost`."""
    cost: float | None = None
    """In the currency of the prices; None where no price is known."""
    refusals: ParameterRefusals = field(default_factory=ParameterRefusals)
    """Parameters that the endpoint refused."""

    def to_document(self) -> dict[str, object]:
        """Make the JSON document, in which the cost is `money`."""
        document = dataclasses.asdict(self)
        document["money"] = document.pop("cost")
        document["refused"] = self.refusals.describe()
        del document["refusals"]
        return document


@dataclass(frozen=True)
class _FailedTry:
    reason: str
    is_retryable: bool
    retry_after: float | None = None
    """Seconds that the server demands before the next try."""


SendRequest = Callable[[Request], Awaitable[Completion]]
RequestSequence = Callable[[SendRequest], Coroutine[Any, Any, T]]
"""Requests that depend on each other, as a coroutine function of a function that sends one request."""
CountProgressCallback = Callable[[int, int], None]


class EndpointClient:
    """Client of one endpoint. May be shared between calls, but not between threads."""

    def __init__(self, settings: EndpointSettings) -> None:
        self.settings = settings
        priced = settings.input_price is not None and settings.output_price is not None
        self.usage = EndpointUsage(cost=0.0 if priced else None)
        self._rate_limiter, self._route = RateLimiter(settings.requests_per_minute), find_route(settings.url)
        self._consecutive_failures, self._down_reason = 0, ""
        self._read_api_key()

    def send_requests(
        self, requests: Sequence[Request], on_progress: CountProgressCallback | None = None
    ) -> list[Completion]:
        """Send all requests at once, and return the replies in their order. A failing endpoint does not raise."""

        def make_sequence(request: Request) -> RequestSequence[Completion]:
            async def send_one(send: SendRequest) -> Completion:
                return await send(request)

            return send_one

        return self.run_sequences([make_sequence(request) for request in requests], on_progress)

    def run_sequences(
        self, sequences: Sequence[RequestSequence[T]], on_progress: CountProgressCallback | None = None
    ) -> list[T]:
        """Run all sequences at once, with at most `concurrency` requests in flight.

        Args:
            sequences: what to run.
            on_progress: called with (finished, total) after each sequence.

        Returns:
            The results, in the order of `sequences`. A failing endpoint does not raise.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(self._gather_sequences(sequences, on_progress))
        with ThreadPoolExecutor(1) as pool:  # in a notebook or an async actor, whose loop runs this call
            return pool.submit(asyncio.run, self._gather_sequences(sequences, on_progress)).result()

    async def _gather_sequences(
        self, sequences: Sequence[RequestSequence[T]], on_progress: CountProgressCallback | None
    ) -> list[T]:
        if not sequences:
            return []
        import openai

        from sweeper.evaluation.reply_limits import ACCEPTED_ENCODINGS, limit_reply_async

        self._consecutive_failures, self._down_reason = 0, ""  # it may be up again
        secret = self._read_api_key()
        gate = asyncio.Semaphore(self.settings.concurrency)
        done = 0
        # The client's own retries ignore the rate limit, and its timeout restarts with each byte: both are off.
        # A redirect would send the prompts, and the key, to another server.
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=not self._route.is_loopback,
            headers=ACCEPTED_ENCODINGS,
            event_hooks={"response": [limit_reply_async]},
        )
        key, url = secret.get_secret_value(), self.settings.url
        async with openai.AsyncOpenAI(
            api_key=key, base_url=url, max_retries=0, timeout=None, http_client=http
        ) as client:

            async def send(request: Request) -> Completion:
                async with gate:
                    return await self._send_with_retries(client, request, secret)

            async def run_one(sequence: RequestSequence[T]) -> T:
                nonlocal done
                result = await sequence(send)
                done += 1
                if on_progress is not None:
                    on_progress(done, len(sequences))
                return result

            return list(await asyncio.gather(*(run_one(sequence) for sequence in sequences)))

    async def _send_with_retries(self, client: openai.AsyncOpenAI, request: Request, secret: SecretStr) -> Completion:
        settings = self.settings
        started, tries = time.monotonic(), 0
        self.usage.requests += 1
        if self._down_reason:
            self.usage.failed += 1
            return Completion(None, self._down_reason, tries=0)
        while True:
            started += await self._rate_limiter.acquire()  # waiting for its turn does not count
            tries += 1
            left = settings.total_seconds - (time.monotonic() - started)
            result = await self._send_once(client, request, min(settings.timeout_seconds, max(left, 0.001)), secret)
            if isinstance(result, Completion):
                self._consecutive_failures, self._down_reason = 0, ""
                return self._record_usage(result, tries)
            delay = result.retry_after
            if delay is None:
                # Jitter spreads requests that failed together.
                backoff = settings.backoff_seconds * min(2.0 ** (tries - 1), _MAX_BACKOFF_FACTOR)
                delay = backoff * (1 - 0.25 * random.random())  # noqa: S311
            reason = f"{result.reason}{self._route.describe()}, {tries} {'try' if tries == 1 else 'tries'}"
            if result.is_retryable and tries <= settings.max_retries:
                if time.monotonic() - started + delay < settings.total_seconds:
                    if result.retry_after is not None:
                        self._rate_limiter.pause(result.retry_after)
                    self.usage.retries += 1
                    await asyncio.sleep(delay)
                    continue
                wait = f"the server demands a wait of {delay:g} s, " if result.retry_after is not None else ""
                reason += f"; {wait}no time left of {settings.total_seconds:g} s"
            self.usage.failed += 1
            self._consecutive_failures += 1
            if self._consecutive_failures >= max(MAX_CONSECUTIVE_FAILED_REQUESTS, settings.concurrency):
                self._down_reason = (
                    f"skipped: the last {self._consecutive_failures} requests failed, the last one by {reason}"
                )
            return Completion(None, reason, tries=tries)

    def _record_usage(self, reply: Completion, tries: int) -> Completion:
        usage, settings = self.usage, self.settings
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            usage.uncounted += 1
        prompt, completion = reply.prompt_tokens or 0, reply.completion_tokens or 0
        usage.prompt_tokens += prompt
        usage.completion_tokens += completion
        if usage.cost is not None and settings.input_price is not None and settings.output_price is not None:
            usage.cost += (prompt * settings.input_price + completion * settings.output_price) / 1e6
        return Completion(
            reply.text, reply.reason, reply.prompt_tokens, reply.completion_tokens, reply.finish_reason, tries
        )

    async def _send_once(
        self, client: openai.AsyncOpenAI, request: Request, seconds: float, secret: SecretStr
    ) -> Completion | _FailedTry:
        import openai

        path = "/completions" if request.prompt is not None else "/chat/completions"
        body = self._make_body(request)
        try:
            async with asyncio.timeout(seconds):
                document: object = await client.post(path, cast_to=object, body=body)
            if isinstance(document, str):  # JSON with another content type
                document = json.loads(document)
        except TimeoutError:
            return _FailedTry(f"timeout after {seconds:.3g} s", is_retryable=True)
        except openai.APIStatusError as error:
            code = error.status_code
            if code == HTTPStatus.BAD_REQUEST and self.usage.refusals.learn(body, error.body):
                return await self._send_once(client, request, seconds, secret)
            wait = _parse_retry_after(error.response.headers) if code >= 400 else None
            return _FailedTry(
                self._describe_status_error(error, secret),
                is_retryable=code in _TRANSIENT_STATUSES or code >= 500,
                retry_after=wait,
            )
        except openai.OpenAIError as error:
            return _FailedTry(_describe_connection_error(error, secret), is_retryable=True)
        except UnicodeEncodeError:
            return _FailedTry("the request contains characters that UTF-8 cannot write", is_retryable=False)
        except (ValueError, RecursionError):
            return _FailedTry("the reply is not JSON", is_retryable=True)
        return _parse_completion(document, request, secret)

    def _make_body(self, request: Request) -> dict[str, object]:
        fields: dict[str, object] = {
            "model": self.settings.model,
            "messages": [dict(message) for message in request.messages] or None,
            "prompt": request.prompt,
            "temperature": self.settings.temperature,
            "max_tokens": self.settings.max_tokens,
            "response_format": request.response_format,
            "stop": list(request.stop) or None,
            "seed": request.seed,
        }
        return self.usage.refusals.adapt({key: value for key, value in fields.items() if value is not None})

    def _describe_status_error(self, error: openai.APIStatusError, secret: SecretStr) -> str:
        code = error.status_code
        # The standard's phrase: the server's own is arbitrary text.
        name = f"{code} {HTTPStatus(code).phrase}" if code in HTTPStatus._value2member_map_ else str(code)
        if code == HTTPStatus.UNAUTHORIZED:  # servers often quote parts of the key here
            variable = f"the environment variable {self.settings.api_key_env}"
            if secret.get_secret_value() == NO_API_KEY:
                return f"{name}: the server requires a key; set {variable}"
            return f"{name}: the server rejects the key in {variable}"
        message = _extract_error_message(error.body, secret)
        return f"{name}: {message}" if message else name

    def _read_api_key(self) -> SecretStr:
        """Read the key, wrapped so that no repr or traceback shows it.

        Raises:
            UsageError: a key that no HTTP header can contain.
        """
        key = os.environ.get(self.settings.api_key_env) or NO_API_KEY
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(
                f"environment variable {self.settings.api_key_env}",
                found="blanks, line breaks or characters that a key cannot contain",
                hint="set it to the key only",
            )
        return SecretStr(key)


def _parse_completion(document: object, request: Request, secret: SecretStr) -> Completion | _FailedTry:
    """Parse the document of a reply. Servers differ, so nothing about it is assumed."""
    document = document if isinstance(document, dict) else {}
    choices = document.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    choice = choice if isinstance(choice, dict) else {}
    content = choice if request.prompt is not None else choice.get("message")
    key = "text" if request.prompt is not None else "content"
    if not choice or not isinstance(content, dict) or not isinstance(content.get(key, 0), str | None):
        message = _extract_error_message(document.get("error"), secret)
        return _FailedTry("the reply is incomplete" + (f": {message}" if message else ""), is_retryable=True)
    usage = document.get("usage")
    prompt_tokens, completion_tokens = (
        count
        if isinstance(usage, dict) and isinstance(count := usage.get(f"{kind}_tokens"), int) and count >= 0
        else None
        for kind in ("prompt", "completion")
    )
    finish = choice.get("finish_reason")
    text, _ = replace_surrogates(content[key] or "")
    if len(secret.get_secret_value()) >= MIN_SECRET_LENGTH:
        text = _redact_key(text, secret)
    return Completion(text, "", prompt_tokens, completion_tokens, finish if isinstance(finish, str) else None)


def _extract_error_message(body: object, secret: SecretStr) -> str:
    """Extract the server's error message, in one line and without the key.

    The key is redacted before the text is truncated, so that no part of it remains.
    """
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
    """Describe a failed connection by the innermost error: the outer ones are all "Connection error."."""
    chain: list[BaseException] = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    for deep in reversed(chain):
        if isinstance(deep, ConnectionError) and deep.errno:
            return os.strerror(deep.errno).lower()
        if isinstance(deep, socket.gaierror | ssl.SSLError):
            return f"connection failed: {_redact_key(str(deep.strerror or deep), secret)}"
    message = next((str(deep) for deep in chain[1:] if str(deep)), type(chain[-1]).__name__)
    return f"connection failed: {_extract_error_message(message, secret)}"


def _parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Parse the wait that a server demands, as seconds, milliseconds or a date. Returns seconds, None without one."""
    for header, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(header)
        if value is None:
            continue
        try:
            seconds = float(value) / scale
        except ValueError:
            try:
                date = parsedate_to_datetime(value)
            except ValueError:
                continue
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
        if seconds > 0 and math.isfinite(seconds):
            return seconds
    return None
