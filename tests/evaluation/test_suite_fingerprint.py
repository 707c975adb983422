"""What changes the fingerprint of a suite, and what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from package_copy import run_with_extra_files
from scripted_agents import DATA, make_evaluation

from sweeper.errors import MissingPathError
from sweeper.evaluation import compute_suite_fingerprint


def fingerprint(**fields: object) -> str:
    return compute_suite_fingerprint(make_evaluation(**fields), DATA)


@pytest.mark.parametrize(
    "fields", [{"judge": "rules"}, {"max_steps": 5}, {"split": "validation"}, {"also_judges": ["rules"]}]
)
def test_fingerprint_changes_with_everything_that_changes_outcomes(fields: dict[str, object]) -> None:
    assert fingerprint(**fields) != fingerprint()


def test_fingerprint_ignores_name_and_batch_size() -> None:
    assert fingerprint(name="other", batch_size=1) == fingerprint()


def test_fingerprint_ignores_limits_and_prices_of_the_llm_judge() -> None:
    llm = {"url": "http://127.0.0.1:1/v1", "model": "m"}
    first = fingerprint(judge="llm", llm=llm)
    assert fingerprint(judge="llm", llm=llm | {"concurrency": 2, "input_price": 1.0}) == first
    assert fingerprint(judge="llm", llm=llm | {"votes": 2}) != first


def test_fingerprint_hashes_the_recorded_responses(tmp_path: Path) -> None:
    options = {"environment": "replay", "judge": "rules", "recorded": str(tmp_path)}
    (tmp_path / "a.json").write_text("{}")
    first = fingerprint(**options)
    (tmp_path / "a.json").write_text("[]")
    assert fingerprint(**options) != first
    with pytest.raises(MissingPathError):
        fingerprint(**options | {"recorded": str(tmp_path / "missing")})


STRICT_JUDGE = """
from sweeper.evaluation.judges.base import Judge, JudgeContext, Vote

class StrictJudge(Judge):
    name = "strict"
    identity = "strict-1"

    def judge(self, answers):
        return [[Vote("strict", 0, "unsolved", "")] for _ in answers]

def make_judge(context: JudgeContext) -> StrictJudge:
    return StrictJudge()
"""
PRINT_FINGERPRINTS = """
from scripted_agents import DATA, make_evaluation
from sweeper.evaluation import compute_suite_fingerprint
from sweeper.evaluation.judges import strict
print(compute_suite_fingerprint(make_evaluation(also_judges=["strict"]), DATA))
strict.StrictJudge.identity = "strict-2"
print(compute_suite_fingerprint(make_evaluation(also_judges=["strict"]), DATA))
print(compute_suite_fingerprint(make_evaluation(also_judges=["rules"]), DATA))
"""


def test_fingerprint_has_the_identity_of_every_judge(tmp_path: Path) -> None:
    printed = run_with_extra_files(tmp_path, {"evaluation/judges/strict.py": STRICT_JUDGE}, PRINT_FINGERPRINTS)
    first, changed, rules = printed.split()
    assert len({first, changed, fingerprint()}) == 3
    assert rules == fingerprint(also_judges=["rules"])
