from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweeper.config import EvaluationSpec, load_evaluation_spec

WORLD = load_evaluation_spec("toolworld").model_dump()
SUITE = WORLD | {"queries": "test", "environment": "replay", "recorded": "answer", "judge": "rules", "also_judges": []}
LLM = {"url": "http://127.0.0.1:1/v1", "model": "m"}


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (WORLD, {"also_judges": ["oracle"]}, "repeats a judge"),
        (WORLD, {"judge": "llm"}, "needs `llm`"),
        (WORLD, {"judge": "human"}, "people label answers outside of a sweep"),
        (WORLD, {"judge": "referee"}, "no judge of this name"),
        (WORLD, {"queries": "test"}, "leave out `queries`"),
        (SUITE, {"recorded": None}, "`environment: replay` needs `recorded`"),
        (SUITE, {"environment": "http"}, "`environment: http` needs `url`"),
        (SUITE, {"split": "validation"}, "only the synthetic tool environment has validation queries"),
        (SUITE, {"judge": "oracle"}, "support only its own queries"),
        (SUITE, {"queries": None, "judge": "oracle"}, "the oracle judges only toolworld's episodes"),
        (SUITE, {"judge": "llm", "llm": LLM | {"votes": 0}}, "greater than 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(base: dict[str, object], change: dict[str, object], message: str) -> None:
    EvaluationSpec.model_validate(base)
    with pytest.raises(ValidationError, match=message):
        EvaluationSpec.model_validate(base | change)


def test_first_judge_leads() -> None:
    spec = EvaluationSpec.model_validate(SUITE | {"also_judges": ["llm"], "llm": LLM})
    assert spec.judges == ["rules", "llm"]
    assert spec.llm is not None and spec.llm.votes == 4, "ToolEval's number"
