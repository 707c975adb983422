"""Every kind of claim in the report: its keys, its sentence, and no number in prose that the document does not hold."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from report_tables import CLAIMS, INFO, tables

from sweeper.config import Claim
from sweeper.report import ReportTables, build_report, serialize_report
from sweeper.report.html import render_html

pytestmark = pytest.mark.slow

KEYS = {"id", "text", "kind", "metric", "protocol", "verdict", "sentence", "estimate", "interval", "unit", "alpha"}
KEYS |= {"p", "p_adjusted", "family", "n", "n_queries", "n_seeds", "excluded", "incomplete", "components", "beside"}
KEYS |= {"reading", "readings", "choices", "by_judge", "sensitivity", "needed", "reason"}
WHERE = {"model": "opt-tiny-64", "num_train_epochs": 1}


def claim(kind: str, **fields: Any) -> Claim:
    return Claim.model_validate({"id": kind, "text": "It is so.", "kind": kind, "margin": 0.1} | fields)


EVERY = [
    *CLAIMS,
    claim("reaches", reference=0.7, direction="at-least", where=WHERE),
    claim("reaches", id="looked", reference=0.7, direction="at-least", where=WHERE, looks=[2, 3], spend=[0.02, 0.03]),
    claim("generalises", direction="at-least", where=WHERE),
    claim("stabilises", metric="divergence_rate", axis="max_grad_norm", candidate=0.3),
    claim("judge-independent", metric="agreement", reference=0.6),
    claim(
        "cheaper",
        metric="cost_per_solved",
        axis="model",
        candidate="opt-tiny-32",
        against=["opt-tiny-96"],
        reference=0.5,
    ),
    claim("no-gain-beyond", id="overfits", axis="num_train_epochs", candidate=1, overfitting=True),
    claim(
        "best-of",
        id="equal",
        axis="model",
        candidate="opt-tiny-64",
        protocol="equal-compute",
        where={"num_train_epochs": 1},
    ),
]


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    trials, outcomes, histories = tables()
    trials = trials.assign(eval_seconds=10.0, train_flops=1e9)
    # The same runs without clipping, most of which diverge.
    off = trials.assign(max_grad_norm=math.nan, fingerprint="off" + trials["fingerprint"])
    off["status"] = ["DIVERGED"] * 15 + ["COMPLETE"] * 3
    kept = set(off.loc[off["status"] == "COMPLETE", "fingerprint"])
    more = outcomes.assign(fingerprint="off" + outcomes["fingerprint"])
    outcomes = pd.concat([outcomes, more[more["fingerprint"].isin(kept)]], ignore_index=True)
    other = outcomes.assign(judge="llm")
    turned = np.random.default_rng(0).random(len(other)) < 0.03
    other["passed"] = other["passed"].where(~turned, 1 - other["passed"])
    both = pd.concat([outcomes, other], ignore_index=True)
    clipped = [
        each.model_copy(update={"where": each.where | {"max_grad_norm": 0.3}})
        if each.kind not in ("stabilises", "judge-independent")
        else each
        for each in EVERY
    ]
    histories |= {"off" + name: history for name, history in list(histories.items())}
    return build_report(INFO | {"judge": "oracle"}, clipped, ReportTables(pd.concat([trials, off]), both, histories))


def test_serialized_claim_has_every_key(report: dict[str, Any]) -> None:
    assert [c["id"] for c in report["claims"]] == [c.id for c in EVERY]
    for found in report["claims"]:
        assert set(found) >= KEYS
        otherwise = [row["name"] for row in found["sensitivity"]]
        assert len(otherwise) == (0 if found["kind"] in ("stabilises", "judge-independent") else 6)
        assert not otherwise or otherwise[-1] == "judge: llm", "oracle decides"
        assert (found["needed"] is None) == (found["verdict"] != "inconclusive")
        assert found["family"] in (True, False)
    assert json.loads(serialize_report(report)) == report


def test_claim_sentences_name_their_metric(report: dict[str, Any]) -> None:
    by_id = {c["id"]: c for c in report["claims"]}
    assert "the reference 70 %" in by_id["reaches"]["sentence"] and "that the reference" not in str(by_id["reaches"])
    assert "on unseen tools and categories" in by_id["generalises"]["sentence"]
    parts = " ".join(str(c["sentence"]) for c in by_id["stabilises"]["components"])
    assert "share of diverged runs with clip off" in parts and "36 runs" in parts
    beside = " ".join(str(c["sentence"]) for c in by_id["stabilises"]["beside"])
    assert "spread of the pass rate over finished runs" in beside and "pairs of runs" in beside
    assert "loss spike" in beside and "gradient norm above the clip" in beside
    judges = by_id["judge-independent"]
    assert "Gwet's AC1 of oracle and llm is 0." in judges["components"][0]["sentence"]
    assert "under judge llm" in judges["components"][1]["sentence"] and set(judges["by_judge"]) == {"oracle", "llm"}
    assert "times as much as one of opt-tiny-96" in by_id["cheaper"]["components"][0]["sentence"]
    assert "validation loss with 3 epochs" in by_id["overfits"]["beside"][0]["sentence"]
    assert "nats" in by_id["overfits"]["beside"][0]["sentence"]
    assert by_id["equal"]["protocol"] == "equal-compute" and len(by_id["equal"]["choices"]) == 3
    assert [c["wanted"] for c in by_id["reaches"]["components"]] == ["above −10 points"]


def test_claim_sentences_contain_only_numbers_of_their_comparison(report: dict[str, Any]) -> None:
    for found in report["claims"]:
        for part in [*found["components"], *found["beside"]]:
            if part["sentence"] is None:
                continue
            scale = 100 if part["unit"] == "points" else 1
            held = [part["estimate"], *part["interval"]]
            text = part["sentence"].replace("−", "-").replace(",", "")
            for name in [*part["names"], "AC1"]:
                text = text.replace(name.replace(",", ""), "")
            digits = {"points": 1, "nats": 3}.get(part["unit"], 2)
            known = {f"{abs(scale * value):.{digits}f}" for value in held}
            known |= {str(part[key]) for key in ("n", "n_queries", "n_seeds")}
            known.add(f"{100 * (1 - part['level']):g}")
            said = set(re.findall(r"\d+(?:\.\d+)?", text))
            assert said <= known, part["sentence"]


def test_page_renders_every_kind_of_claim(report: dict[str, Any]) -> None:
    page = render_html(report)
    for found in report["claims"]:
        assert f'id="claim-{found["id"]}"' in page


def test_several_judges_without_a_deciding_one_are_an_error() -> None:
    trials, outcomes, histories = tables()
    both = pd.concat([outcomes, outcomes.assign(judge="llm")])
    with pytest.raises(Exception, match="one judge"):
        build_report(INFO, CLAIMS, ReportTables(trials, both, histories))


def test_protocol_variants_of_one_question_share_a_table(report: dict[str, Any]) -> None:
    (ids,) = report["protocols"]
    assert ids == ["sweet-spot", "equal"]
    table = render_html(report).split('class="dense protocols"')[1].split("</table>")[0]
    for claim in report["claims"]:
        assert (f'href="#claim-{claim["id"]}"' in table) == (claim["id"] in ids)
    assert ">identical<" in table and ">equal-compute<" in table


def test_intervals_of_a_look_are_at_its_level(report: dict[str, Any]) -> None:
    (looked,) = [claim for claim in report["claims"] if claim["id"] == "looked"]
    assert looked["look"]["level"] in (0.02, 0.03) and looked["alpha"] == 0.05
    assert looked["looks_registered"] == [2, 3] and looked["looks_taken"][-1] == looked["look"]["seeds"]
    level = f"{100 * (1 - looked['look']['level']):g} %"
    assert f"{level} interval" in looked["sentence"] and f"({level})" in render_html(cast(Any, report))
