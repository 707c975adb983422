"""Pairwise comparison: by majority, and then by the judge's preference."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from chat_server import ChatServer, Said, Seen

from sweeper.errors import UsageError
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judges.base import AnswerStatus, Judge, Vote
from sweeper.evaluation.judges.llm import LlmJudge
from sweeper.evaluation.openai_client import EndpointClient, EndpointSettings
from sweeper.evaluation.pairwise import PairwiseResult, compare_pairs, find_majority

WORDS: dict[str, AnswerStatus | None] = {"s": "solved", "u": "unsolved", "?": "unsure", "-": None}


class Plain(Judge):
    """A judge that cannot prefer."""

    name = identity = "plain"

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        return [[] for _ in answers]


def votes(word: str) -> list[Vote]:
    return [Vote("j", k, WORDS[letter], f"vote {letter}") for k, letter in enumerate(word)]


def answer(text: str) -> Answer:
    return Answer("1", "s", "query", (), (), text)


PAIR = (answer("long"), answer("short"))


MAJORITIES = dict.fromkeys(["ssss", "sssu", "s--", "ss?"], "passes") | dict.fromkeys(["-u", "uu?", "uuus"], "fails")
MAJORITIES |= dict.fromkeys(["ssuu", "su", "s?", "????", "?", "u?-"], "is undecided")


@pytest.mark.parametrize(("word", "expected"), [*MAJORITIES.items(), ("----", None), ("", None)])
def test_find_majority_of_scored_votes(word: str, expected: str | None) -> None:
    assert find_majority(votes(word)) == expected


def test_compare_pairs_by_majority_without_preference() -> None:
    words = [("sss", "uuu"), ("ssu", "suu"), ("uuu", "sss"), ("sss", "ss"), ("u", "suu"), ("s", "--"), ("-", "-")]
    words += [("?", "u"), ("s", "ssuu"), ("?", "?")]  # unsure is neither a pass nor a fail
    found = compare_pairs([PAIR] * 10, [votes(a) for a, _ in words], [votes(b) for _, b in words], Plain())
    assert [(c.winner, c.decided_by) for c in found] == [
        ("a", "pass"),
        ("a", "pass"),
        ("b", "pass"),
        ("tie", "tie"),
        ("tie", "tie"),
        (None, "unscored"),
        (None, "unscored"),
        (None, "undecided"),
        (None, "undecided"),
        (None, "undecided"),
    ]
    assert [c.reason for c in found[3:8]] == [
        "both pass",
        "both fail",
        "b: vote -",
        "a: vote -",
        "a is undecided, b fails",
    ]


@pytest.mark.slow
def test_compare_pairs_sends_only_undecided_pairs_to_the_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def likes_long(seen: Seen) -> Said | str:
        if "broken" in seen.user:
            return "?"
        better = "first" if "long" in seen.user.split("[[/first ")[0] else "second"
        return json.dumps({"reason": "long", "better": better})

    pairs = [PAIR, PAIR[::-1], (PAIR[0], PAIR[0]), (PAIR[0], answer("broken")), PAIR, PAIR, PAIR]
    words = [("s", "s"), ("u", "u"), ("s", "s"), ("s", "s"), ("s", "u"), ("s", "-"), ("?", "u")]
    with ChatServer(likes_long) as server:
        judge = LlmJudge(EndpointClient(EndpointSettings(server.url, "m")), reply_tries=1)
        found = compare_pairs(pairs, [votes(a) for a, _ in words], [votes(b) for _, b in words], judge)
        asked = len(server.seen)
        assert compare_pairs(pairs[4:6], [votes("s")] * 2, [votes("u")] * 2, judge)[0].decided_by == "pass"
    assert asked == len(server.seen) == 4  # one pair in two orders (its mirror asks the same), and the broken one
    assert found[:3] == [
        PairwiseResult("a", "preference", "both pass; long"),
        PairwiseResult("b", "preference", "both fail; long"),
        PairwiseResult("tie", "preference", "both pass; identical answers"),
    ]
    assert [(c.winner, c.decided_by) for c in found[3:]] == [
        (None, "unscored"),
        ("a", "pass"),
        (None, "unscored"),
        ("a", "preference"),
    ]
    assert "no usable reply" in found[3].reason


def test_compare_pairs_rejects_lists_of_unequal_length() -> None:
    with pytest.raises(UsageError, match="1 pairs, votes on 2 and 1"):
        compare_pairs([PAIR], [votes("s")] * 2, [votes("s")], Plain())
