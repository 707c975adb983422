"""Conversations -> a file in ToolLLaMA's released shape, for other tools and for comparison with theirs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from sweeper.config import DataSpec
from sweeper.data.conversations import Conversation, ReaderCounts
from sweeper.data.prompt_format import format_system_message
from sweeper.data.sources import FractionReporter, open_source
from sweeper.errors import DataError


def export_toolllama(data: DataSpec, out: Path, on_progress: FractionReporter = lambda share: None) -> dict[str, Any]:
    """Stream the training conversations of a source to `out`: a list of `{"id", "conversations"}`.

    The file appears whole or not at all. Returns counts. Raises DataError where nothing can be read or written.
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
        raise DataError(str(out), requested="an export", found=f"cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return {
        "format": "toolllama",
        "file": str(out),
        "conversations": written,
        "dropped": dict(counts.drop_counts),
        "invalid_queries": counts.invalid_queries,
        "problems": counts.problems,
    }


def format_toolllama_example(conversation: Conversation) -> dict[str, Any]:
    """One example as ToolLLaMA's release has it."""
    first, *rest = conversation.turns
    system = {"from": first.role, "value": format_system_message(first.content, conversation.apis, "toolbench")}
    return {
        "id": conversation.id,
        "conversations": [system, *({"from": turn.role, "value": turn.content} for turn in rest)],
    }
