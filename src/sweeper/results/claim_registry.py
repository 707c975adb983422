"""The claims of a study as registered: each once, with its hash, its time, and how many trials had finished."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from sweeper.errors import StoreError
from sweeper.storage import JsonObject, read_json, write_json

if TYPE_CHECKING:
    from sweeper.config import Claim

CLAIMS_FILE = "claims.json"
"""In the folder of a study."""
NOT_RECORDED = "registered by an older version, which did not record when"
_LOST = "the registration made before the run is missing"


class RegisteredClaim(BaseModel):
    """One registration of a claim. It is written once and never changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """The claim's id; in a union of sweeps `SWEEP/ID`."""
    sha256: str
    """Hash of the claim's fields: see `hash_claim`."""
    registered: str
    """Time, ISO 8601, UTC."""
    finished: int | None
    """Trials of its sweep that had finished by then; None for a claim of an older version, which kept no count."""
    planned: int
    """Trials of its sweep that were planned by then."""
    claim: JsonObject
    """The fields that differ from their defaults."""


@dataclass(frozen=True)
class Registration:
    """When a claim was registered, as a report states it."""

    label: str
    """Empty if the claim stood before the first trial had finished, else what was different."""
    is_late: bool
    """Whether trials had finished, or may have, before the claim was registered. Such a claim is listed apart."""
    registered: str | None = None
    """Time, ISO 8601, UTC; None if there is no record of it."""
    sha256: str | None = None


@dataclass(frozen=True)
class ClaimRegistry:
    """The registrations of a study, oldest first."""

    entries: tuple[RegisteredClaim, ...] = ()
    missing_label: str = "not registered before the run"
    """Label of a claim that no entry has."""
    is_missing_late: bool = True
    """Whether a claim that no entry has is listed apart."""

    def find(self, claim: Claim, prefix: str = "") -> Registration:
        """Find when a claim was registered.

        Args:
            claim: the claim, with all of its fields.
            prefix: `SWEEP/` for the claim of a sweep in a union.
        """
        digest = hash_claim(claim)
        same_id = [entry for entry in self.entries if entry.id == prefix + claim.id]
        entry = next((entry for entry in same_id if entry.sha256 == digest), None)
        if entry is None:
            return Registration(self.missing_label, self.is_missing_late)
        if entry.finished is None:
            return Registration(NOT_RECORDED, False, sha256=digest)
        if entry.finished == 0:
            return Registration("", False, entry.registered, digest)
        action = "added" if entry is same_id[0] else "changed"
        label = f"{action} after {entry.finished:,} of {entry.planned:,} trials had finished"
        return Registration(label, True, entry.registered, digest)

    def list_late(self, claims: Sequence[Claim]) -> list[str]:
        """List the ids of claims that were added or changed after results were known."""
        return [claim.id for claim in claims if self.find(claim).is_late]

    def list_withdrawn(self, claims: Sequence[Claim], prefix: str = "") -> list[str]:
        """List the ids of registered claims that the sweep no longer has."""
        own = [entry.id.removeprefix(prefix) for entry in self.entries if entry.id.startswith(prefix)]
        return [name for name in dict.fromkeys(own) if name not in {claim.id for claim in claims}]


def hash_claim(claim: Claim) -> str:
    """Hash what a claim tests: the fields that differ from their defaults, except its text.

    Its wording may improve; what is tested, and against which margin, is in the other fields.

    Args:
        claim: the claim.

    Returns:
        SHA-256, 64 hex digits.

    Example:
        >>> from sweeper.config import Claim
        >>> fields = {"id": "a", "text": "A reaches it.", "kind": "reaches", "axis": "model", "candidate": "opt-125m"}
        >>> claim = Claim(**fields, reference=0.5, direction="at-least", margin=0.05)
        >>> hash_claim(claim) == hash_claim(claim.model_copy(update={"margin": 0.1}))
        False
    """
    return _hash_fields(_dump_claim(claim))


def _hash_fields(fields: JsonObject) -> str:
    tested = {name: value for name, value in fields.items() if name != "text"}
    text = json.dumps(tested, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _dump_claim(claim: Claim) -> JsonObject:
    return claim.model_dump(mode="json", exclude_defaults=True)


def register_claims(
    folder: Path,
    claims: Sequence[Claim],
    count_trials: Callable[[], tuple[int | None, int]],
    *,
    prefix: str = "",
    own_folder: Path | None = None,
) -> list[RegisteredClaim]:
    """Register the claims that have not been registered yet, in the form that they have now.

    Args:
        folder: the study's folder.
        claims: the claims of a sweep.
        count_trials: returns how many trials of that sweep have finished (None: not known), and how many are planned.
            It is called only if there is something to register.
        prefix: `SWEEP/` for the claims of a sweep in a union.
        own_folder: the folder of the sweep's own study, for a sweep in a union. A claim that is registered there keeps
            that registration.

    Returns:
        The new registrations.

    Raises:
        StoreError: the registrations of the study cannot be read.
    """
    entries = _read_entries(folder / CLAIMS_FILE)
    known = {(entry.id, entry.sha256) for entry in entries}
    missing = [claim for claim in claims if (prefix + claim.id, hash_claim(claim)) not in known]
    if not missing:
        return []
    own = {(entry.id, entry.sha256): entry for entry in (_read_entries(own_folder / CLAIMS_FILE) if own_folder else ())}
    finished, planned = count_trials()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    new = []
    for claim in missing:
        digest = hash_claim(claim)
        entry = own.get((claim.id, digest)) or RegisteredClaim(
            id=claim.id, sha256=digest, registered=now, finished=finished, planned=planned, claim=_dump_claim(claim)
        )
        new.append(entry.model_copy(update={"id": prefix + claim.id}))
    document = {"claims": [entry.model_dump(mode="json") for entry in (*entries, *new)]}
    write_json(folder / CLAIMS_FILE, document)
    return new


def read_claim_registry(folder: Path, *, has_run: bool, was_run_by_older_version: bool = False) -> ClaimRegistry:
    """Read the registrations of a study. Those that are missing or cannot be read make every claim a late one.

    Args:
        folder: the study's folder.
        has_run: whether the study has run.
        was_run_by_older_version: whether version 0.1.0 ran it last, which registered no claims.
    """
    if not (folder / CLAIMS_FILE).exists():
        if was_run_by_older_version:
            return ClaimRegistry(missing_label=NOT_RECORDED, is_missing_late=False)
        return ClaimRegistry(missing_label=_LOST) if has_run else ClaimRegistry()
    try:
        return ClaimRegistry(tuple(_read_entries(folder / CLAIMS_FILE)))
    except StoreError as error:
        return ClaimRegistry(missing_label=f"registration cannot be read: {error.found}")


def _read_entries(path: Path) -> list[RegisteredClaim]:
    if not path.exists():
        return []
    hint = "move the file away; claims registered from then on are labeled as late"
    try:
        document = read_json(path)
    except StoreError as error:
        raise StoreError(str(path), found=error.found, hint=hint) from error
    try:
        entries = [RegisteredClaim.model_validate(entry) for entry in document["claims"]]
    except (ValidationError, KeyError, TypeError) as error:
        raise StoreError(str(path), found="not a list of registered claims", hint=hint) from error
    for entry in entries:
        if _hash_fields(entry.claim) != entry.sha256:
            raise StoreError(str(path), found=f"claim {entry.id} does not have the hash of its registration", hint=hint)
    return entries
