"""A server that speaks S3, and a store as two machines see it: what this folder's fixtures hand out."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sweeper.storage import Store


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
