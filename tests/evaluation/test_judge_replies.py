"""Replies of judges that reason aloud, or wrap what was asked for."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.evaluation.judge_replies import describe_validation_error, parse_reply


class Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: Literal["solved", "unsolved"]


SOLVED = '{"status": "solved"}'


@pytest.mark.parametrize(
    "text",
    [
        SOLVED,
        f"```json\n{SOLVED}\n```",
        f'<think>It may be {{"status": "unsolved"}}? No.</think>\n\n{SOLVED}',
        f"Here it is:\n```json\n{SOLVED}\n```",
        f'First:\n```json\n{{"status": "unsolved"}}\n```\nNo:\n```\n{SOLVED}\n```\n',
        f"<think>a</think><think>b</think>\n```JSON\n{SOLVED}\n```",
    ],
)
def test_reply_is_found(text: str) -> None:
    assert parse_reply(text, Reply).status == "solved"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"status": "unsolved", "status": "solved"}', "the key 'status' occurs twice"),
        ("<think>" + SOLVED, "Invalid JSON"),
        (f"I say {SOLVED}", "Invalid JSON"),
        ('{"status": "maybe"}', "status"),
        ("[" * 100_000, "Invalid JSON"),
        ('{"status": "solved", "more": 1}', "more"),
    ],
)
def test_anything_else_is_refused(text: str, found: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        parse_reply(text, Reply)
    assert found in describe_validation_error(refusal.value)
