"""The fields of each kind of claim."""

from __future__ import annotations

from pathlib import Path

import pytest
from claim_files import CLAIM, KIND_OF_CLAIM, TUNED, load_claim

from sweeper.config import Claim
from sweeper.errors import ConfigError

ONE_ARM = "where: {model: opt-tiny-32, num_train_epochs: 1, max_grad_norm: 0.3, learning_rate: 0.01}\n"


@pytest.mark.parametrize("kind", KIND_OF_CLAIM)
def test_every_kind_of_claim_loads(tmp_path: Path, kind: str) -> None:
    where = ONE_ARM if kind in ("reaches", "generalises") else ""
    claim = load_claim(tmp_path, CLAIM + KIND_OF_CLAIM[kind] + where)
    assert claim.kind == kind and claim.protocol == "identical"
    assert Claim.model_validate(claim.model_dump(mode="json")) == claim


@pytest.mark.parametrize(
    ("kind", "drop", "add", "line", "says"),
    [
        ("reaches", "reference: 0.7755\n", "", 1, "`kind: reaches` needs `reference`"),
        ("reaches", "direction: at-least\n", "", 1, "needs `direction`"),
        ("reaches", "0.7755", "77.55", 5, "below 1"),
        ("reaches", "", "candidate: opt-tiny-32\n", 7, "together"),
        ("reaches", "", "reading: interior\n", 7, "does not take `reading`"),
        ("best-of", "candidate: opt-tiny-64\n", "", 1, "needs `candidate`"),
        ("best-of", "", "reading: sharp\n", 7, "reading"),
        ("best-of", "", "metric: agreement\n", 7, "needs `metric: pass_rate`"),
        ("best-of", "", "readign: interior\n", 7, "did you mean `reading`"),
        ("best-of", "", "overfitting: true\n", 7, "does not take `overfitting`"),
        ("best-of", "", "protocol: tuned\nselection_seeds: [0]\n", 1, "`protocol: tuned` needs `tuned_axis`"),
        ("best-of", "", "tuned_axis: learning_rate\n", 7, "`protocol: identical` does not take `tuned_axis`"),
        ("best-of", "", TUNED + "confirmation_seeds: [0, 1]\n", 10, "cannot confirm"),
        (
            "best-of",
            "",
            "protocol: tuned\ntuned_axis: model\nselection_seeds: [0]\n",
            8,
            "no value of it can be chosen",
        ),
        ("best-of", "axis: model", "axis: modle", 5, "not an axis"),
        ("stabilises", "metric: divergence_rate\n", "", 1, "needs `metric: divergence_rate`"),
        ("stabilises", "", "against: [0.3]\n", 8, "itself"),
        ("generalises", "at-least", "at-most", 5, "`at-least` or `about`"),
        ("generalises", "", "protocol: tuned\n", 6, "does not take `protocol`"),
        ("judge-independent", "", "axis: model\n", 7, "does not take `axis`"),
        ("cheaper", "[opt-tiny-96]", "[opt-tiny-96, opt-tiny-64]", 8, "exactly one"),
        ("cheaper", "", "price_per_hour: {opt-tiny-32: 1}\n", 10, "no price above 0 for ['opt-tiny-96']"),
    ],
)
def test_claim_refuses_missing_and_foreign_fields_with_their_line(
    tmp_path: Path, kind: str, drop: str, add: str, line: int, says: str
) -> None:
    text = CLAIM + KIND_OF_CLAIM[kind]
    text = text.replace(drop, add) if drop and add else text.replace(drop, "") + add if drop else text + add
    with pytest.raises(ConfigError) as caught:
        load_claim(tmp_path, text)
    assert says in str(caught.value) and caught.value.exit_code == 2
    path, _, number = caught.value.where.rpartition(":")
    assert Path(path).name == "x.yaml" and int(number) == line
