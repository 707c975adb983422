"""The registry of claim kinds."""

from __future__ import annotations

import pytest
from claim_cases import make_claim
from pydantic import ValidationError

from sweeper.claims.kinds.base import CLAIM_KINDS, require_direction, require_reference
from sweeper.config import Claim


@pytest.mark.parametrize("name", CLAIM_KINDS.names)
def test_kind_takes_fields_that_claims_have(name: str) -> None:
    kind = CLAIM_KINDS.load(name)
    assert kind.required_fields | kind.optional_fields <= set(Claim.model_fields)
    assert not kind.required_fields & kind.optional_fields


def test_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="no claim kind of this name") as failure:
        make_claim("best-off")
    assert failure.value.errors()[0]["ctx"]["names"] == list(CLAIM_KINDS.names)


def test_missing_direction_and_reference_are_errors() -> None:
    spot = make_claim("best-of", axis="model", candidate="middle")
    with pytest.raises(ValueError, match="no direction"):
        require_direction(spot)
    with pytest.raises(ValueError, match="no reference"):
        require_reference(spot)
