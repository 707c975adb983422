"""Settings of a world. Equal settings give equal worlds, on any machine and in any process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.errors import UsageError, suggest_nearest

WORLD_VERSION = 1
"""Raised when a change of the code makes equal settings give another world."""

SUBSETS = ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction")
"""ToolBench's test subsets, in the paper's order: the group, and what is unseen in training."""

GROUPS = ("G1", "G2", "G3")
"""G1: one tool. G2: two tools of one category. G3: two tools of one collection, which spans categories."""


@dataclass(frozen=True)
class WorldConfig:
    """Settings of a world.

    Raises:
        UsageError: an invalid value.
    """

    seed: int = 0
    """Seed of tables, APIs and queries. Training, validation and test queries come from separate random streams, so
    test queries do not depend on the number of training queries."""

    train_queries: int = 3000
    """Training queries over all groups, each with one answer."""

    validation_queries: int = 120
    """Validation queries over all groups, each with one answer; for the validation loss."""

    test_queries_per_subset: int = 30
    """Test queries in each of the six subsets."""

    g1_share: float = 0.5
    """Share of G1 among training and validation queries."""

    g2_share: float = 0.25
    """Share of G2; the rest is G3."""

    def __post_init__(self) -> None:
        for name in ("seed", "train_queries", "validation_queries", "test_queries_per_subset"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < (name != "seed" and name[0] == "t"):
                raise _make_settings_error(name, value, "a whole number, at least 1 for training and test queries")
        for name in ("g1_share", "g2_share"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise _make_settings_error(name, value, "a share from 0 to 1")
        if self.g1_share + self.g2_share > 1 + 1e-9:
            raise _make_settings_error("g2_share", self.g2_share, "g1_share + g2_share of at most 1")

    @classmethod
    def from_mapping(cls, settings: Mapping[str, object]) -> WorldConfig:
        """Read the settings of a world from YAML.

        Raises:
            UsageError: an unknown key, or an invalid value.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                hint = suggest_nearest(str(key), known)
                raise UsageError("toolworld settings", found=f"unknown key `{key}`", hint=hint)
        return cls(**settings)  # type: ignore[arg-type]  # __post_init__ checks the values

    def allocate_to_groups(self, total: int) -> dict[str, int]:
        """Divide a number of queries among the groups."""
        first = round(total * self.g1_share)
        second = min(round(total * self.g2_share), total - first)
        return {"G1": first, "G2": second, "G3": total - first - second}


def _make_settings_error(name: str, value: object, expected: str) -> UsageError:
    return UsageError("toolworld settings", requested=f"{name} = {value!r}", hint=f"give {expected}")
