"""Does judging by a language model keep its endpoint busy? Votes against a server that takes a fixed time for each.

    python benchmarks/judging.py [--answers N] [--delay SECONDS] [--concurrency N]

Ideal wall time is ceil(requests / concurrency) x delay. The server is a process of its own that answers any number of
requests at once; how long it takes itself is measured too, by as many requests from plain sockets. About half a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from row import Row, finish

from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judges.llm import LlmJudge
from sweeper.evaluation.openai_client import EndpointClient, EndpointSettings

VOTES = 4


def serve(delay: float, tell: Connection) -> None:
    """Answer every POST after `delay` seconds with "solved", on a free port that is told first."""
    said = json.dumps({"reason": "the forecast is given", "status": "solved"})
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 400, "completion_tokens": 20}}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    response = head.encode() + body

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                header = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:]) for line in header.split(b"\r\n") if line.lower().startswith(b"content-length:")
                )
                await reader.readexactly(length)
                await asyncio.sleep(delay)
                writer.write(response)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def forever() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        tell.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


async def bare(port: int, requests: int, concurrency: int) -> None:
    """The same number of requests from `concurrency` sockets, with nothing around them."""
    left = iter(range(requests))

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in left:
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
            header = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(header.rsplit(b":", 1)[1]))
        writer.close()

    await asyncio.gather(*(one() for _ in range(concurrency)))


def main() -> int:
    """Judge, print the ratio as a line and as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument("--delay", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=16)
    asked = parser.parse_args()
    import openai  # noqa: F401  (loaded once a process, whatever is judged)

    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(asked.delay, theirs), daemon=True)
    server.start()
    port = ours.recv()
    try:
        steps = ("I look it up.",)
        answers = [
            Answer(str(k), "G1_tool", f"Weather in town {k}?", (), steps, f"It rains in town {k}. " * 20)
            for k in range(asked.answers)
        ]
        settings = EndpointSettings(f"http://127.0.0.1:{port}/v1", "m", concurrency=asked.concurrency)
        endpoint = EndpointClient(settings)
        with tempfile.TemporaryDirectory() as folder:
            started, used = time.monotonic(), time.process_time()
            votes = LlmJudge(endpoint, votes=VOTES, cache=Path(folder)).judge(answers)
            wall, busy = time.monotonic() - started, time.process_time() - used
        assert all(vote.status == "solved" for row in votes for vote in row)
        requests = endpoint.usage.requests
        started = time.monotonic()
        asyncio.run(bare(port, requests, asked.concurrency))
        floor = time.monotonic() - started
    finally:
        server.terminate()
    ideal = math.ceil(requests / asked.concurrency) * asked.delay
    what = f"judging {asked.answers} answers, {asked.concurrency} requests at once, {asked.delay:g} s each"
    least = "each request's own time"
    return finish(
        [Row(what, "s", [wall], "plain sockets", [floor], aim="<= 1.1", limit=ideal, limit_is=least)],
        requests=requests,
        cpu_seconds=busy,
    )


if __name__ == "__main__":
    sys.exit(main())
