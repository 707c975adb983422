"""`branch_epochs`: refused where arms cannot branch."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.config import load_sweep
from sweeper.errors import ConfigError

SHIPPED = Path(__file__).resolve().parents[2] / "sweeps/epochs-branched.yaml"


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("  num_train_epochs: [1, 2, 3, 5]\n", "", 15, "no axis `num_train_epochs`"),
        ("[1, 2, 3, 5]", "[5]", 14, "no axis `num_train_epochs` with several values"),
        ("[1, 2, 3, 5]", "[1, 2.5]", 14, "2.5 epochs"),
        ("  lr_scheduler_type: warmup_stable_decay\n  decay_fraction: 0.2\n", "", 14, "lr_scheduler_type: linear"),
        ("  decay_fraction: 0.2\n", "  decay_fraction: 0.2\n  max_steps: 60\n", 17, "end by max_steps"),
        ("{engine: single, cpus: 1}", "{engine: ddp, workers: 2}", 18, "branching supports one worker"),
    ],
)
def test_load_sweep_refuses_unbranchable_sweeps_with_their_line(
    tmp_path: Path, old: str, new: str, line: int, says: str
) -> None:
    head, _, rest = SHIPPED.read_text().partition("claims:")
    text = f"{head}runtime:{rest.partition('runtime:')[2]}"
    assert old in text
    path = tmp_path / "wrong.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    assert caught.value.requested == "branch_epochs: true"
    assert says in caught.value.found
    assert caught.value.where == f"{path}:{line}"


def test_load_sweep_refuses_a_branched_search() -> None:
    with pytest.raises(ConfigError, match="trained separately"):
        load_sweep(SHIPPED, ["claims=[]", "axes.seed=[0]", "search={algorithm: random, trials: 3}"])


def test_sweep_that_can_branch_is_accepted() -> None:
    assert load_sweep(SHIPPED).branch_epochs
