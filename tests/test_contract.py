"""What must not change while code moves: fingerprints, the keys of JSON documents, and a store written before.

`tests/pinned/` was written by the code as it was; `python tests/test_contract.py` writes it anew, which is a decision
to break stored trials or the users of `--json`, and belongs in the changelog.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import warm

from sweeper.config import TrialSpec, compute_trial_fingerprint, expand_sweep, find_sweep, load_sweep

PINNED = Path(__file__).parent / "pinned"
SWEEPS = sorted(path.stem for path in (warm.ROOT / "sweeps").glob("*.yaml"))
DOCUMENTS = {
    "plan": ("plan", PINNED / "tiny.yaml"),
    "plan of a search": ("plan", PINNED / "looking.yaml"),
    "status": ("status", "tiny"),
    "status of a search": ("status", "looking"),
    "report": ("report", "tiny"),
    "report of a search": ("report", "looking"),
    "search history": ("search", "history", "looking"),
}
"""Commands over the pinned store, which holds a finished sweep `tiny` and a finished search `looking`."""
TIMED = ("cost", "wall_hours", "energy", "seconds", "predicted", "hours", "usd", "kwh", "disk", "spent", "versions")
"""Paths with these words depend on the machine's speed or versions."""


def load_pinned(name: str) -> Any:
    return json.loads((PINNED / name).read_text())


def planned_fingerprints(sweep: str, *options: str) -> list[str]:
    done = warm.sweeper("plan", sweep, "--json", "--accept-underpowered", *options, code=None)
    return [trial["fingerprint"] for trial in json.loads(done.stdout)["trials"]]


def spec_fingerprint(spec: TrialSpec) -> str:
    """The identity of a trial whose weights and data are not at hand: what the specification alone decides."""
    data = spec.data.model_dump_json(exclude={"name", "path", "assumed"})
    more = {"branch": spec.branch, "branch_points": spec.branch_points}
    return compute_trial_fingerprint(
        spec.recipe, spec.seed, weights_fingerprint=spec.model.name, data_fingerprint=data, **more
    )


def spec_fingerprints(sweep: str) -> list[str]:
    loaded = load_sweep(find_sweep(sweep))
    return [spec_fingerprint(spec) for part in (loaded.sweeps or [loaded]) for spec in expand_listed(part)]


def expand_listed(sweep: Any) -> list[TrialSpec]:
    fixed = {axis: values for axis, values in sweep.axes.items() if axis not in sweep.searched}
    return expand_sweep(sweep.model_copy(update={"axes": fixed}))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield path, "object"
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        yield path, "array"
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}[{number}]")
    else:
        yield path, value


def keys(document: Any) -> list[str]:
    """Every path of a document, the places of lists left out."""
    plain = {"".join(part.split("]", 1)[-1] for part in path.split("[")) for path, _ in leaves(document)}
    return sorted(plain)


def numbers(document: Any) -> dict[str, float]:
    found = {path: float(value) for path, value in leaves(document) if isinstance(value, (int, float))}
    return {path: value for path, value in found.items() if not any(word in path for word in TIMED)}


def show(name: str, store: Path) -> Any:
    done = warm.sweeper(*DOCUMENTS[name], "--json", "--storage", store, code=None)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(PINNED / "store", tmp_path_factory.mktemp("pinned") / "store"))


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_fingerprints_of_shipped_sweeps_stay(sweep: str) -> None:
    pinned = load_pinned("fingerprints.json")[sweep]
    assert planned_fingerprints(sweep) == pinned["plan"]
    assert planned_fingerprints(sweep, "--smoke-test") == pinned["smoke test"]


@pytest.mark.parametrize("sweep", SWEEPS)
def test_specifications_of_shipped_sweeps_keep_their_identity(sweep: str) -> None:
    assert spec_fingerprints(sweep) == load_pinned("fingerprints.json")[sweep]["specification"]


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_json_documents_keep_their_keys(name: str, store: Path) -> None:
    assert keys(show(name, store)) == load_pinned("documents.json")[name]["keys"]


@pytest.mark.slow
@pytest.mark.parametrize("name", DOCUMENTS)
def test_store_written_before_gives_the_same_numbers(name: str, store: Path) -> None:
    found, pinned = numbers(show(name, store)), load_pinned("documents.json")[name]["numbers"]
    assert found.keys() == pinned.keys()
    for path, value in pinned.items():
        assert math.isclose(found[path], value, rel_tol=1e-7, abs_tol=1e-9), path


@pytest.mark.slow
def test_trials_of_a_store_written_before_are_reused(store: Path) -> None:
    for study, total in (("tiny", 4), ("looking", 6)):
        sweep = PINNED / f"{study}.yaml"
        again = warm.sweeper("run", sweep, "--backend", "inline", "--tracking", "none", "--storage", store)
        assert f"[{total}/{total}]" in again.stderr or f"{total} finished before, 0 to run" in again.stderr


def write_pinned() -> None:
    def write(name: str, document: Any) -> None:
        (PINNED / name).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")

    write(
        "fingerprints.json",
        {
            sweep: {
                "plan": planned_fingerprints(sweep),
                "smoke test": planned_fingerprints(sweep, "--smoke-test"),
                "specification": spec_fingerprints(sweep),
            }
            for sweep in SWEEPS
        },
    )
    found = {name: show(name, PINNED / "store") for name in DOCUMENTS}
    write("documents.json", {name: {"keys": keys(doc), "numbers": numbers(doc)} for name, doc in found.items()})


if __name__ == "__main__":
    write_pinned()
