"""The ledger of looks: on how many seeds the verdict of each claim has been read. Adding seeds until a verdict changes
raises its error level, so a report names every look that the claim did not register."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.errors import StoreError
from sweeper.results.claim_registry import hash_claim
from sweeper.storage import read_json, write_json

if TYPE_CHECKING:
    from sweeper.config import Claim

LOOKS_FILE = "looks.json"
"""In the folder of a study."""


class TakenLook(BaseModel):
    """One look that was taken at a claim."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """The claim's id; in a union of sweeps `SWEEP/ID`."""
    sha256: str
    """Hash of what the claim tests, without its looks. Earlier versions hashed these as well."""
    n_seeds: int
    seeds: tuple[int, ...] = ()
    """The seeds; empty in ledgers of earlier versions."""
    verdict: str
    """`supported`, `refuted` or `inconclusive`."""
    taken: str
    """Time, ISO 8601, UTC."""


@dataclass(frozen=True)
class LookLedger:
    """The looks of a study, oldest first."""

    entries: tuple[TakenLook, ...] = ()

    def list_seeds(self, claim: Claim, prefix: str = "") -> list[int]:
        """List the numbers of seeds on which a claim has been looked at, ascending.

        Args:
            claim: the claim, as it is now: looks at one with other fields do not count.
            prefix: `SWEEP/` for the claim of a sweep in a union.
        """
        return sorted({entry.n_seeds for entry in self.list_entries(prefix + claim.id, claim)})

    def list_other_seeds(self, claim: Claim, seeds: Sequence[int], prefix: str = "") -> list[tuple[int, ...]]:
        """List the seeds of looks that were not the first ones of a sweep: results were read on other runs as well.

        Args:
            claim: the claim.
            seeds: the sweep's seeds, in order.
            prefix: as of `list_seeds`.
        """
        looks = dict.fromkeys(entry.seeds for entry in self.list_entries(prefix + claim.id, claim))
        return [own for own in looks if own != tuple(seeds[: len(own)])]

    def list_entries(self, name: str, claim: Claim) -> list[TakenLook]:
        """List the looks under a name at a claim that tests the same, whatever looks it registers."""
        digests = (hash_tested_fields(claim), hash_claim(claim))
        return [entry for entry in self.entries if entry.id == name and entry.sha256 in digests]


def hash_tested_fields(claim: Claim) -> str:
    """Hash what a claim tests, without when it is looked at: a change of looks does not undo those taken.

    Args:
        claim: the claim.

    Returns:
        SHA-256, 64 hex digits.

    Example:
        >>> from sweeper.config import Claim
        >>> fields = {"id": "a", "text": "A reaches it.", "kind": "reaches", "reference": 0.5, "direction": "at-least"}
        >>> claim = Claim(**fields, margin=0.05, looks=[3, 6])
        >>> hash_tested_fields(claim) == hash_tested_fields(claim.model_copy(update={"looks": [3, 8]}))
        True
    """
    return hash_claim(claim.model_copy(update={"looks": [], "spend": "obrien-fleming"}))


def read_look_ledger(folder: Path) -> LookLedger:
    """Read the ledger of a study; empty where nobody has looked.

    Args:
        folder: the study's folder.

    Raises:
        StoreError: it cannot be read.
    """
    path = folder / LOOKS_FILE
    if not path.exists():
        return LookLedger()
    hint = "restore the file from a copy; without it, reports do not know of earlier looks"
    try:
        return LookLedger(tuple(TakenLook.model_validate(entry) for entry in read_json(path)["looks"]))
    except StoreError as error:
        raise StoreError(str(path), found=error.found, hint=hint) from error
    except (ValidationError, KeyError, TypeError) as error:
        raise StoreError(str(path), found="not a list of looks", hint=hint) from error


def record_looks(
    folder: Path, claims: Mapping[str, Claim], looks: Mapping[str, tuple[int, str]], seeds: Mapping[str, Sequence[int]]
) -> None:
    """Add looks to the ledger of a study, each once.

    Args:
        folder: the study's folder.
        claims: name in the ledger -> claim; in a union of sweeps the name is `SWEEP/ID`.
        looks: name -> number of seeds and verdict, of the claims that could be decided.
        seeds: name -> the seeds of its sweep, in order.

    Raises:
        StoreError: the ledger cannot be read.
        OSError: it cannot be written.
    """
    entries = read_look_ledger(folder).entries
    ledger = LookLedger(entries)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    new = []
    for name, (n_seeds, verdict) in looks.items():
        claim, own = claims[name], tuple(seeds[name][:n_seeds])
        known = [entry for entry in ledger.list_entries(name, claim) if entry.n_seeds == n_seeds]
        if not any(entry.seeds in ((), own) for entry in known):
            digest = hash_tested_fields(claim)
            new.append(TakenLook(id=name, sha256=digest, n_seeds=n_seeds, seeds=own, verdict=verdict, taken=now))
    if new:
        write_json(folder / LOOKS_FILE, {"looks": [entry.model_dump(mode="json") for entry in (*entries, *new)]})
