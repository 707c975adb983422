"""A limit on the size of servers' replies, for clients of httpx2: a small compressed reply can become gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

import httpx2

MAX_REPLY_BYTES = 8 * 2**20
"""Decoded bytes of a reply that are read; a longer one is a failed request."""
ACCEPTED_ENCODINGS = {"Accept-Encoding": "gzip, deflate"}
"""Headers of every request: encodings that are decoded here."""


def limit_reply(response: httpx2.Response) -> None:
    """Limit what is read of a reply, as a `response` hook of `httpx2.Client`.

    Args:
        response: a reply whose body has not been read.
    """
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _LimitedStream(response.stream, _take_encoding(response))


async def limit_reply_async(response: httpx2.Response) -> None:
    """Limit what is read of a reply, as a `response` hook of `httpx2.AsyncClient`.

    Args:
        response: a reply whose body has not been read.
    """
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _LimitedAsyncStream(response.stream, _take_encoding(response))


def _take_encoding(response: httpx2.Response) -> str:
    """Return the encoding of a body, and remove it from the headers, so that httpx2 does not decode a second time."""
    encoding = response.headers.pop("content-encoding", "identity").strip().lower()
    response.headers.pop("content-length", None)
    return encoding


class _Decoder:
    """Decodes chunks, and raises `httpx2.ReadError` beyond the limit."""

    def __init__(self, encoding: str) -> None:
        if encoding not in ("identity", "gzip", "deflate"):
            raise httpx2.DecodingError(f"the reply has the encoding {encoding[:20]!r}, which was not accepted")
        self._inflater = None if encoding == "identity" else zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._left = MAX_REPLY_BYTES

    def decode(self, chunk: bytes) -> bytes:
        """Return the decoded bytes of a chunk."""
        try:
            text = chunk if self._inflater is None else self._inflater.decompress(chunk, self._left + 1)
        except zlib.error as error:
            raise httpx2.DecodingError(f"the reply cannot be decoded: {error}") from error
        self._left -= len(text)
        if self._left < 0:
            raise httpx2.ReadError(f"the reply is longer than {MAX_REPLY_BYTES // 2**20} MiB")
        return text


class _LimitedStream(httpx2.SyncByteStream):
    def __init__(self, stream: httpx2.SyncByteStream, encoding: str) -> None:
        self._stream, self._decoder = stream, _Decoder(encoding)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield self._decoder.decode(chunk)

    def close(self) -> None:
        self._stream.close()


class _LimitedAsyncStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, encoding: str) -> None:
        self._stream, self._decoder = stream, _Decoder(encoding)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield self._decoder.decode(chunk)

    async def aclose(self) -> None:
        await self._stream.aclose()
