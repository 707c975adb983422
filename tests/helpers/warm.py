"""`sweeper …` in a process of its own, forked from one that has the imports behind it.

Starting Python and importing torch, transformers and TRL takes longer than what most commands of the tests do, and
there are hundreds of them. The process is real: exit code, output, environment, working folder, signals. That commands
start from nothing, too, is tested by those that press Ctrl-C and by those on Ray.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_server: subprocess.Popen[str] | None = None


@dataclass
class Running:
    """A command that runs, with the methods of `subprocess.Popen` that tests use."""

    pid: int
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        if self.returncode is None:
            self.returncode = _request(poll=self.pid)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to a command that has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float = 500) -> int:
        """Wait for the end of the command, and kill it after so many seconds. Return its exit code."""
        if self.poll() is None:
            late = threading.Timer(timeout, os.kill, (self.pid, signal.SIGKILL))
            late.start()
            self.returncode = _request(wait=self.pid)
            late.cancel()
        assert self.returncode is not None
        return self.returncode


def sweeper(
    *arguments: str | Path, code: int | None = 0, env: dict[str, str] | None = None, timeout: float = 500
) -> subprocess.CompletedProcess[str]:
    """Run the command from the project's folder, and expect this exit code; None: any."""
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as errors:
        found = _fork(arguments, env, out.name, errors.name).wait(timeout)
        done = subprocess.CompletedProcess(list(map(str, arguments)), found, out.read(), errors.read())
    assert code is None or done.returncode == code, f"exit code {found}\n{done.stdout}{done.stderr}"
    return done


def start(*arguments: str | Path, output: str | Path = os.devnull, env: dict[str, str] | None = None) -> Running:
    """Start the command from the project's folder; what it prints goes into `output`."""
    return _fork(arguments, env, str(output), str(output))


def _fork(arguments: Iterable[str | Path], env: dict[str, str] | None, out: str, errors: str) -> Running:
    return Running(_request(words=list(map(str, arguments)), env={**os.environ, **(env or {})}, out=out, errors=errors))


def _request(**asked: Any) -> Any:
    global _server
    if _server is None or _server.poll() is not None:
        _server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert _server.stdin and _server.stdout
    _server.stdin.write(json.dumps(asked) + "\n")
    _server.stdin.flush()
    return json.loads(_server.stdout.readline())


def serve() -> None:
    """For each line of standard input fork a process and print its number, or print the exit code of an earlier one."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries talk while they are imported
    _import()
    from sweeper.cli import main

    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    # Arrow's allocator knows what a fork is.
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1, f"a fork would lose some of {threads}"
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        if "words" not in asked:
            ended, status = os.waitpid(asked.get("wait") or asked["poll"], 0 if "wait" in asked else os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), file=answers)
            continue
        process = os.fork()
        if process == 0:
            answers.close()
            _become(asked)
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
                code = 1
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(code)  # what is left of an end is the freeing of half a gigabyte of modules, for seconds
        print(process, file=answers)


def _import() -> None:
    import pandas  # noqa: F401
    import ray.tune.search.optuna  # noqa: F401
    import scipy.stats  # noqa: F401
    import trl.trainer.sft_trainer  # noqa: F401

    import sweeper.cli.app
    import sweeper.evaluation.agents.local
    import sweeper.execution.study_runner
    import sweeper.report
    import sweeper.training.sft_trainer  # noqa: F401


def _become(asked: dict[str, Any]) -> None:
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["sweeper", *asked["words"]]
    for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["errors"])):
        with Path(name).open("ab+", buffering=0) as file:
            os.dup2(file.fileno(), number)


if __name__ == "__main__":
    serve()
