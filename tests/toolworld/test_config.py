"""Settings of a world."""

from __future__ import annotations

import pytest

from sweeper.errors import UsageError
from sweeper.toolworld import WorldConfig
from sweeper.toolworld.config import GROUPS


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_querys": 5}, "train_queries"),
        ({"train_queries": 0}, "train_queries = 0"),
        ({"train_queries": "many"}, "train_queries = 'many'"),
        ({"seed": True}, "seed = True"),
        ({"g1_share": 0.9, "g2_share": 0.2}, "at most 1"),
        ({"g1_share": float("nan")}, "g1_share"),
    ],
)
def test_world_config_refuses_invalid_settings(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WorldConfig.from_mapping(settings)


def test_world_config_from_mapping_equals_its_fields() -> None:
    assert WorldConfig.from_mapping({}) == WorldConfig()
    assert WorldConfig.from_mapping({"seed": 3, "g1_share": 1, "g2_share": 0}) == WorldConfig(3, g1_share=1, g2_share=0)


@pytest.mark.parametrize(
    ("shares", "total", "expected"),
    [
        ((0.5, 0.25), 300, (150, 75, 75)),
        ((0.5, 0.25), 3, (2, 1, 0)),
        ((0.5, 0.5), 3, (2, 1, 0)),
        ((1, 0), 7, (7, 0, 0)),
        ((0, 0), 7, (0, 0, 7)),
        ((0.5, 0.25), 0, (0, 0, 0)),
    ],
)
def test_world_config_allocate_to_groups_adds_up_to_the_total(
    shares: tuple[float, float], total: int, expected: tuple[int, int, int]
) -> None:
    config = WorldConfig(g1_share=shares[0], g2_share=shares[1])
    assert config.allocate_to_groups(total) == dict(zip(GROUPS, expected, strict=True))
