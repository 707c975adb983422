"""The text of prompts, to the letter: training and evaluation share it."""

from __future__ import annotations

from sweeper.data.conversations import ApiList, Conversation, Turn
from sweeper.data.prompt_format import (
    Segment,
    format_user_message,
    make_conversation_segments,
    make_segments,
)


def test_make_segments_separates_an_answer_from_its_label() -> None:
    assert make_segments([("user", "u"), ("assistant", "a"), ("function", "f")]) == [
        Segment("User: u\n", "user"),
        Segment("Assistant:", "ask"),
        Segment("a", "assistant"),
        Segment("Function: f\n", "function"),
    ]


def test_make_conversation_segments_appends_the_apis_to_the_system_turn_only() -> None:
    turns = (Turn("system", "s"), Turn("user", format_user_message("q")), Turn("assistant", "\nThought: "))
    conversation = Conversation("Step 2: q", "q", turns, ApiList([{"name": "f"}]))
    segments = make_conversation_segments(conversation, "signature")
    assert "".join(segment.text for segment in segments) == (
        "System: s\nAPIs:\nf()\nUser: \nq\nBegin!\n\nAssistant:\nThought: "
    )
    shorter = make_conversation_segments(conversation, "signature", ApiList([]))
    assert shorter[0].text == "System: s\nAPIs:\n"
    assert shorter[1:] == segments[1:]
