from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.api import LabelFile
from sweeper.cli.evaluate import LlmJudgeOptions, _pair_label_files
from sweeper.config import LlmSpec
from sweeper.errors import UsageError

URL = "http://127.0.0.1:1/v1"


def test_llm_judge_without_options_has_the_suites_own() -> None:
    default = LlmSpec(url=URL, model="m")
    assert LlmJudgeOptions(None, None, votes=4).make_spec(["llm"], default) is default
    assert LlmJudgeOptions(None, None, votes=4).make_spec(["rules"]) is None


def test_llm_judge_options_become_its_specification() -> None:
    options = LlmJudgeOptions(URL, "m", votes=6, requests_per_minute=30.0, input_price=1.0, output_price=2.0)
    spec = options.make_spec(["llm"])
    assert spec is not None
    assert (spec.url, spec.model, spec.votes, spec.requests_per_minute) == (URL, "m", 6, 30.0)
    assert (spec.input_price, spec.output_price) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("endpoint", "model", "judges", "message"),
    [
        (URL, None, ["llm"], "no --judge-model"),
        (None, "m", ["llm"], "no --judge-endpoint"),
        (URL, "m", ["rules"], "none of them uses an endpoint"),
    ],
)
def test_llm_judge_options_that_do_not_fit_together_are_refused(
    endpoint: str | None, model: str | None, judges: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        LlmJudgeOptions(endpoint, model, votes=4).make_spec(judges)


def test_labels_are_of_both_sides_of_a_comparison() -> None:
    a, b, key = Path("a.csv"), Path("b.csv"), Path("a.key.json")
    assert _pair_label_files(None, None, None, None) is None
    assert _pair_label_files(a, key, b, None) == (LabelFile(a, key), LabelFile(b))
    for one_side in ((a, key, None, None), (None, None, b, None), (None, key, None, None)):
        with pytest.raises(UsageError, match="one side only"):
            _pair_label_files(*one_side)
