"""Sweeps with one claim, each kind of claim in turn."""

from __future__ import annotations

from pathlib import Path

from sweeper.config import Claim, load_sweep

QUICKSTART = (Path(__file__).resolve().parents[2] / "sweeps/quickstart.yaml").read_text()
CLAIM = "id: x\ntext: It is so.\nmargin: 0.05\n"
KIND_OF_CLAIM = {
    "reaches": "kind: reaches\nreference: 0.7755\ndirection: at-least\n",
    "best-of": "kind: best-of\naxis: model\ncandidate: opt-tiny-64\n",
    "no-gain-beyond": "kind: no-gain-beyond\naxis: num_train_epochs\ncandidate: 1\n",
    "stabilises": "kind: stabilises\nmetric: divergence_rate\naxis: max_grad_norm\ncandidate: 0.3\n",
    "generalises": "kind: generalises\ndirection: at-least\n",
    "judge-independent": "kind: judge-independent\nmetric: agreement\nreference: 0.6\n",
    "cheaper": "kind: cheaper\nmetric: cost_per_solved\naxis: model\ncandidate: opt-tiny-32\nagainst: [opt-tiny-96]\n"
    "reference: 0.5\n",
}
TUNED = "protocol: tuned\ntuned_axis: learning_rate\nselection_seeds: [0]\n"


def load_claim(tmp_path: Path, text: str, overrides: list[str] | None = None) -> Claim:
    """A sweep of three sizes, two budgets, two clips and three seeds, with this claim by name."""
    (tmp_path / "configs/claims").mkdir(parents=True, exist_ok=True)
    (tmp_path / "configs/claims/x.yaml").write_text(text)
    axes = ["axes.max_grad_norm=[0.3, null]", "axes.learning_rate=[0.01, 0.001]", "axes.seed=[0, 1, 2]", "claims=[x]"]
    (tmp_path / "sweep.yaml").write_text(QUICKSTART)
    return load_sweep(tmp_path / "sweep.yaml", [*axes, *(overrides or [])]).claims[0]
