"""What a world is asked to be. Equal settings give equal worlds, on any machine and in any process."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from sweeper.errors import UsageError

WORLD_VERSION = 1
"""Raised whenever equal settings give another world."""

SUBSETS = ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction")
"""ToolBench's test subsets, in the paper's order. The part before `_` is the group, the part after what is unseen."""

GROUPS = ("G1", "G2", "G3")
"""G1: one tool. G2: two tools of one category. G3: two tools of one collection, which spans categories."""


@dataclass(frozen=True)
class WorldConfig:
    """Settings of a world. Raises UsageError for a value that gives no world; repairs nothing."""

    seed: int = 0
    """Seeds tables, APIs and queries. Train, validation and test queries come from streams of their own, so that the
    test queries do not change with the number of training queries."""

    train_queries: int = 3000
    """Training queries over all groups, each with one answer."""

    validation_queries: int = 120
    """Validation queries over all groups, each with one answer; for the validation loss."""

    test_queries_per_subset: int = 30
    """Test queries in each of the six subsets."""

    g1_share: float = 0.5
    """Share of G1 among training and validation queries."""

    g2_share: float = 0.25
    """Share of G2; what is left is G3."""

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
    def from_mapping(cls, settings: Mapping[str, Any]) -> WorldConfig:
        """A world's settings from YAML. Raises UsageError naming the nearest known key for an unknown one."""
        known = [f.name for f in dataclasses.fields(cls)]
        for key in settings:
            if key not in known:
                near = get_close_matches(str(key), known, 1)
                hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"
                raise UsageError("toolworld settings", found=f"unknown key `{key}`", hint=hint)
        return cls(**settings)

    def allocate_to_groups(self, total: int) -> dict[str, int]:
        """How many of `total` queries each group gets; they add up to `total`."""
        first = round(total * self.g1_share)
        second = min(round(total * self.g2_share), total - first)
        return {"G1": first, "G2": second, "G3": total - first - second}


def _make_settings_error(name: str, value: object, expected: str) -> UsageError:
    return UsageError("toolworld settings", requested=f"{name} = {value!r}", hint=f"give {expected}")
