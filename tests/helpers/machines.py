"""A server that speaks S3, a store as two machines see it, and the files of a finished trial in it."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sweeper.storage import Store, write_bytes, write_json


@dataclass
class Server:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def environment(self) -> dict[str, str]:
        """What a client needs; nothing here is a secret, the server asks for none."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def requests(self) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if "HTTP/1.1" in line]

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@dataclass
class Machines:
    """One store as two machines see it; of a local one both see the same folder."""

    here: Store
    there: Store


def finish(store: Store, fingerprint: str, metric: float = 1.0) -> None:
    """What a trial leaves."""
    folder = store.trial_folder(fingerprint)
    write_json(folder / "spec.json", {"seed": 0})
    write_bytes(folder / "model" / "model.safetensors", os.urandom(1000))
    write_bytes(folder / "model" / "tokenizer" / "tokenizer.json", b"{}")
    write_bytes(folder / "history.parquet", b"history")
    store.push(folder)
    store.publish(store.record_path(fingerprint), {"metric": metric})


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
