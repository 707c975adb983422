"""Claims, recipes and values that change after results are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import warm

PINNED = Path(__file__).resolve().parents[1] / "pinned"
REACHES = (
    "{id: post-hoc, text: It reaches 10 %., kind: reaches, axis: num_train_epochs, candidate: 1, reference: 0.1, "
    "direction: at-least, margin: 0.05}"
)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with the finished study `tiny` of four trials, as version 0.1.0 wrote it."""
    return Path(shutil.copytree(PINNED / "store", tmp_path / "store"))


def run(store: Path, *overrides: str, code: int = 0) -> str:
    options = [part for override in overrides for part in ("--set", override)]
    sweep = PINNED / "tiny.yaml"
    done = warm.sweeper(
        "run", sweep, "--storage", store, "--backend", "inline", "--tracking", "none", *options, code=code
    )
    return done.stdout + done.stderr


def test_claims_added_after_the_results_are_listed_apart(store: Path) -> None:
    run(store)
    shown = run(store, f"claims=[single-epoch, {REACHES}]")
    assert "claim post-hoc: added or changed after 4 of 4 trials had finished; the report lists it apart" in shown
    text = warm.sweeper("report", "tiny", "--storage", store, "--wandb").stdout
    label = "added after 4 of 4 trials had finished"
    assert text.index("single-epoch: ") < text.index("Claims added or changed after trials") < text.index("post-hoc: ")
    assert f"({label})" in text
    study = store / "studies" / "tiny"
    document = json.loads((study / "report.json").read_text())
    assert [claim["id"] for claim in document["claims"]] == ["single-epoch"]
    [late] = document["later_claims"]
    assert (late["id"], late["registration"]["label"]) == ("post-hoc", label)
    assert len(late["registration"]["sha256"]) == 64
    assert late["registration"]["registered"]
    page = (study / "report.html").read_text()
    assert page.index("later-claims") < page.index(label)
    blocks = [block.get("text", "") for block in json.loads((study / "wandb_report.json").read_text())["blocks"]]
    assert blocks.index("Claims added or changed after trials had finished") < blocks.index(label)


def test_a_lost_registration_makes_every_claim_a_late_one(store: Path) -> None:
    run(store)
    claims = store / "studies" / "tiny" / "claims.json"
    claims.write_bytes(claims.read_bytes().replace(b"single", b"sinful", 1))
    shown = run(store, code=1)
    assert "claims.json" in shown and "labeled as late" in shown and "delete" not in shown
    claims.unlink()
    text = warm.sweeper("report", "tiny", "--storage", store).stdout
    assert "the registration made before the run is missing" in text and "Claims added or changed" in text
    run(store)
    assert "added after 4 of 4 trials had finished" in warm.sweeper("report", "tiny", "--storage", store).stdout


def test_late_claims_do_not_change_the_adjusted_p_values_of_others(store: Path) -> None:
    before = json.loads(warm.sweeper("report", "tiny", "--storage", store, "--json").stdout)["claims"]
    run(store, f"claims=[single-epoch, {REACHES}]")
    after = json.loads(warm.sweeper("report", "tiny", "--storage", store, "--json").stdout)["claims"]
    assert [claim["p_adjusted"] for claim in after] == [claim["p_adjusted"] for claim in before]


def test_changed_and_withdrawn_claims_are_named(store: Path) -> None:
    run(store)
    run(store, "claims=[{extends: single-epoch, margin: 0.2}]")
    assert "changed after 4 of 4 trials" in warm.sweeper("report", "tiny", "--storage", store).stdout
    run(store, f"claims=[{REACHES}]")
    text = warm.sweeper("report", "tiny", "--storage", store).stdout
    assert "Registered and later removed from the sweep: single-epoch" in text


def test_manifest_lists_every_run(store: Path) -> None:
    manifest = store / "studies" / "tiny" / "manifest.json"
    first = json.loads(manifest.read_text())
    run(store)
    run(store)
    runs = json.loads(manifest.read_text())["runs"]
    assert len(runs) == 3
    assert runs[0] == first
    document = json.loads(warm.sweeper("report", "tiny", "--storage", store, "--json").stdout)
    assert document["runs"] == runs
    assert document["manifest"] == runs[-1]


def test_another_recipe_replaces_no_results(store: Path) -> None:
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    shown = run(store, "recipe.learning_rate=0.5", code=2)
    assert "--set name=tiny-2" in shown
    assert "Traceback" not in shown
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path in before} == before
