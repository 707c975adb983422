"""Claims that a sweep cannot decide."""

from __future__ import annotations

from pathlib import Path

import pytest
from claim_files import CLAIM, KIND_OF_CLAIM, TUNED, load_claim

from sweeper.errors import ConfigError


@pytest.mark.parametrize(
    ("kind", "add", "overrides", "says"),
    [
        ("reaches", "", [], "name one of them in `where`"),
        ("reaches", "where: {model: opt-1.3b}\n", [], "the axis has"),
        ("generalises", "", [], "name one of them in `where`"),
        ("best-of", "", ["axes.model=[opt-tiny-64]"], "arms besides model"),
        ("best-of", "", ["evaluation=null"], "evaluates nothing"),
        ("no-gain-beyond", "", ["axes.num_train_epochs=[1, 0.5]"], "arms beyond num_train_epochs"),
        ("stabilises", "against: [1.0]\n", [], "max_grad_norm = 1.0"),
        ("stabilises", "", ["axes.max_grad_norm=[0.3]"], "arms besides max_grad_norm"),
        ("cheaper", "", ["axes.model=[opt-tiny-32, opt-tiny-64]"], "opt-tiny-96"),
        ("best-of", TUNED, ["axes.learning_rate=[0.01]"], "not several values"),
        ("best-of", TUNED, ["axes.seed=[0]"], "seeds to confirm on"),
        ("best-of", TUNED.replace("[0]", "[0, 9]"), [], "seed 9"),
    ],
)
def test_check_claims_refuses_a_claim_that_the_sweep_cannot_decide(
    tmp_path: Path, kind: str, add: str, overrides: list[str], says: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_claim(tmp_path, CLAIM + KIND_OF_CLAIM[kind] + add, overrides)
    assert says in str(caught.value) and "claim x" in str(caught.value)
