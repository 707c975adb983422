"""Watch for the end of Ray's own processes, after which Ray aborts the driver without a word about the study."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def watch_ray_processes(session_folder: str, on_loss: Callable[[str], None]) -> Iterator[None]:
    """Watch the processes of one Ray session on this machine.

    Args:
        session_folder: Ray's folder of the session, as in the command lines of its processes.
        on_loss: called once, in another thread, with the name and id of the first process that ended.
    """
    with ExitStack() as stack:
        poll = select.poll()
        names: dict[int, str] = {}
        for pid, name in find_ray_processes(session_folder).items():
            try:
                descriptor = os.pidfd_open(pid)  # readable once the process has ended
            except ProcessLookupError:
                continue
            stack.callback(os.close, descriptor)
            poll.register(descriptor, select.POLLIN)
            names[descriptor] = f"{name}, process {pid}"
        stop_reader, stop_writer = os.pipe()
        stack.callback(os.close, stop_reader)
        poll.register(stop_reader, select.POLLHUP)

        def wait_for_end() -> None:
            ended = {descriptor for descriptor, _ in poll.poll()}
            if stop_reader not in ended:
                on_loss(names[min(ended)])

        thread = threading.Thread(target=wait_for_end, name="ray-process-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            os.close(stop_writer)
            thread.join()


_WITNESS = """
import sys
message = sys.argv[1]
if not sys.stdin.buffer.read():
    sys.stderr.write(message + chr(10))
"""
"""Program that outlives the driver: it prints a message unless the driver wrote to it before it ended."""


@contextmanager
def announce_sudden_end(message: str) -> Iterator[Callable[[], None]]:
    """Print a message if this process ends within the block without Python's doing: by a signal, or by Ray's C++ code.

    Ray's own threads can end the process before Python runs again, so another process waits for that.

    Args:
        message: printed on stderr.

    Yields:
        A function to call before an end that has been announced already.
    """
    witness = subprocess.Popen(  # noqa: S603 # our own program
        [sys.executable, "-I", "-S", "-c", _WITNESS, message],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the driver
    )

    def dismiss() -> None:
        witness.communicate(b"announced")

    try:
        yield dismiss
    finally:
        dismiss()


def find_ray_processes(session_folder: str) -> dict[int, str]:
    """Find the raylet of this node, and the GCS of its cluster if it runs on this machine. None without `/proc`.

    Args:
        session_folder: Ray's folder of the session. Each node of a machine may have its own, of the same name.

    Returns:
        Process id -> name.

    Example:
        >>> find_ray_processes("/tmp/ray/no-such-session")
        {}
    """
    marks = {"raylet": session_folder.encode(), "gcs_server": Path(session_folder).name.encode()}
    found: dict[int, str] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name = (entry / "comm").read_text().strip()
            if name in marks and marks[name] in (entry / "cmdline").read_bytes():
                found[int(entry.name)] = name
        except OSError:  # it has ended, or is another user's
            continue
    return found
