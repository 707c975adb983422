from __future__ import annotations

from sweeper.api import formatting


def test_every_name_is_exported() -> None:
    assert all(hasattr(formatting, name) for name in formatting.__all__)
    assert formatting.format_number(float("nan")) == formatting.MISSING
