"""Which queries are held out for validation: decided by their text alone, on any machine and in any order."""

from __future__ import annotations

import hashlib


def hash_query(query: str) -> int:
    """Return 64 bits of the query's SHA-256."""
    return int.from_bytes(hashlib.sha256(query.encode("utf-8", "surrogatepass")).digest()[:8])


def select_held_out(query_hashes: set[int], fraction: float) -> set[int]:
    """Return the hashes to hold out: the smallest ones, at least one, so that no query is in both splits."""
    return set(sorted(query_hashes)[: max(1, round(fraction * len(query_hashes)))])
