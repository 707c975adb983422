"""Conversations -> a file in ToolLLaMA's released shape, for other tools and for comparison with theirs."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from sweeper.data.conversations import Conversation, Counts
from sweeper.data.render import system_text
from sweeper.data.source import Tell, open_source
from sweeper.errors import DataError
from sweeper.spec import DataSpec


def export_toolllama(data: DataSpec, out: Path, tell: Tell = lambda share: None) -> dict[str, Any]:
    """Stream the training conversations of a source to `out`: a list of `{"id", "conversations"}`.

    The file appears whole or not at all. Returns counts. Raises DataError where nothing can be read or written.
    """
    counts, written = Counts(), 0
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", errors="surrogatepass") as file:
            for _, conversation in open_source(data).read(counts, tell):
                file.write("[\n" if written == 0 else ",\n")
                json.dump(released_form(conversation), file, ensure_ascii=False)
                written += 1
            file.write("\n]\n")
        if written == 0:
            why = "; ".join(counts.problems[:5]) or "no usable answer"
            raise DataError(f"data {data.path or data.name}", asked="conversations", found=why)
        temporary.replace(out)
    except OSError as error:
        raise DataError(str(out), asked="an export", found=f"cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return {
        "format": "toolllama",
        "file": str(out),
        "conversations": written,
        "dropped": dict(counts.dropped),
        "invalid_queries": counts.invalid_queries,
        "problems": counts.problems,
    }


def released_form(conversation: Conversation) -> dict[str, Any]:
    """One example as ToolLLaMA's release has it."""
    first, *rest = conversation.turns
    system = {"from": first.role, "value": system_text(first.content, conversation.apis, "toolbench")}
    return {
        "id": conversation.id,
        "conversations": [system, *({"from": turn.role, "value": turn.content} for turn in rest)],
    }
