"""Conversations -> a file in ToolLLaMA's released form, for other tools and for comparison with the release."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path

from sweeper.config import DataSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.prompt_format import format_system_message
from sweeper.data.readers.base import FractionReporter
from sweeper.data.sources import open_source
from sweeper.errors import DataError
from sweeper.storage import JsonObject


@dataclass(frozen=True)
class ExportSummary:
    """What was written to a file."""

    file: Path
    """The file."""
    conversations: int
    """Conversations written."""
    counts: ReaderCounts
    """What was left out."""

    def to_document(self) -> JsonObject:
        """Return the summary as `data export --json` prints it."""
        return {
            "format": "toolllama",
            "file": str(self.file),
            "conversations": self.conversations,
            "dropped": dict(self.counts.drop_counts),
            "invalid_queries": self.counts.invalid_queries,
            "problems": self.counts.problems,
        }


def export_toolllama(data: DataSpec, out: Path, on_progress: FractionReporter = lambda share: None) -> ExportSummary:
    """Stream the training conversations of a source to `out`: a list of `{"id", "conversations"}`.

    The file appears complete or not at all.

    Args:
        data: the source.
        out: the file.
        on_progress: receives the share read, 0 to 1.

    Returns:
        Numbers of conversations written and left out.

    Raises:
        DataError: nothing can be read or written.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> from sweeper.config import load_data_spec
        >>> world = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 1}
        >>> data = load_data_spec("toolworld", toolworld=world)
        >>> export_toolllama(data, folder / "world.json").conversations
        22
    """
    counts, written = ReaderCounts(), 0
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", errors="surrogatepass") as file:
            for _, conversation in open_source(data).read_conversations(counts, on_progress):
                file.write("[\n" if written == 0 else ",\n")
                json.dump(format_toolllama_example(conversation), file, ensure_ascii=False)
                written += 1
            file.write("\n]\n")
        if written == 0:
            why = "; ".join(counts.problems[:5]) or "no usable answer"
            raise DataError(f"data {data.path or data.name}", requested="conversations", found=why)
        temporary.replace(out)
    except OSError as error:
        raise DataError(str(out), requested="a file to write", found=f"cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return ExportSummary(out, written, counts)


def format_toolllama_example(conversation: Conversation) -> JsonObject:
    """Return one example in the form of ToolLLaMA's release."""
    first, *rest = conversation.turns
    system = {"from": first.role, "value": format_system_message(first.content, conversation.apis, "toolbench")}
    return {
        "id": conversation.id,
        "conversations": [system, *({"from": turn.role, "value": turn.content} for turn in rest)],
    }
