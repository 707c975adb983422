"""Type aliases that several statistics share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Codes = NDArray[np.int64]
"""Places of values in a list of distinct values."""
ArmValue = str | float | None
"""A value of an axis; None: switched off."""
QueryKey = tuple[str, str]
"""(subset, query_id)."""
