"""Configs of published models."""

from __future__ import annotations

from pathlib import Path

from sweeper.config import load_sweep
from sweeper.models import (
    KNOWN_CONFIGS,
)


def test_known_configs_have_a_model_file_each() -> None:
    names = [source.split("/")[1] for source in KNOWN_CONFIGS]
    path = Path(__file__).resolve().parents[2] / "sweeps/quickstart.yaml"
    sweep = load_sweep(path, [f"axes.model=[{', '.join(names)}]", "claims=[]"])
    assert [sweep.models[name].source for name in names] == list(KNOWN_CONFIGS)
