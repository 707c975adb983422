"""Queries held out for validation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sweeper.data.splits import hash_query, select_held_out

HASHES = {hash_query(f"query {k}") for k in range(100)}


def test_hash_query_is_stable_between_machines() -> None:
    assert hash_query("abc") == 0xBA7816BF8F01CFEA, "the first 64 bits of SHA-256 of `abc` (FIPS 180-2)"
    assert hash_query("\ud800") != hash_query("\ud801"), "text that is not valid Unicode is hashed too"


def test_select_held_out_takes_the_fraction_and_at_least_one() -> None:
    assert [len(select_held_out(HASHES, fraction)) for fraction in (0.0001, 0.2, 0.5)] == [1, 20, 50]
    assert select_held_out(set(), 0.5) == set()


@given(extra=st.sets(st.integers(0, 2**64 - 1), max_size=30))
def test_select_held_out_of_more_queries_moves_none_but_at_the_threshold(extra: set[int]) -> None:
    """A query's side depends on its own hash and the threshold alone: adding queries keeps their order."""
    before, after = select_held_out(HASHES, 0.2), select_held_out(HASHES | extra, 0.2)
    kept = after & HASHES
    assert kept <= before or before <= kept
