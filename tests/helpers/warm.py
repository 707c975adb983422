"""`sweeper …` in a process of its own, forked from one that has the imports behind it.

Starting Python and importing torch, transformers and TRL takes longer than what most commands of the tests do, and
there are hundreds of them. The process is real: exit code, output, environment, working folder, signals. That commands
start from nothing, too, is tried by the tests that kill them and by those on Ray.
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
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_server: subprocess.Popen[str] | None = None


def sweeper(
    *arguments: str | Path, code: int | None = 0, env: dict[str, str] | None = None, timeout: float = 500
) -> subprocess.CompletedProcess[str]:
    """Run the command from the project's folder, and expect this exit code; None: any."""
    global _server
    if _server is None or _server.poll() is not None:
        _server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert _server.stdin and _server.stdout
    words = list(map(str, arguments))
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as errors:
        asked = {"words": words, "env": {**os.environ, **(env or {})}, "out": out.name, "errors": errors.name}
        _server.stdin.write(json.dumps(asked) + "\n")
        _server.stdin.flush()
        process = int(_server.stdout.readline())
        late = threading.Timer(timeout, os.kill, (process, signal.SIGKILL))
        late.start()
        found = int(_server.stdout.readline())
        late.cancel()
        done = subprocess.CompletedProcess(words, found, out.read(), errors.read())
    assert code is None or done.returncode == code, f"exit code {found}\n{done.stdout}{done.stderr}"
    return done


def serve() -> None:
    """Fork a process for each line of standard input; print its number, and then its exit code."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # libraries talk while they are imported
    _import()
    from sweeper.cli.app import main

    threads = [(task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir()]
    # Arrow's allocator knows what a fork is.
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1, f"a fork would lose some of {threads}"
    gc.freeze()
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            answers.close()
            _become(json.loads(line))
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
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), file=answers)


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
