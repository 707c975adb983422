from __future__ import annotations

from typing import Any

import pytest
from report_tables import document


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return document()
