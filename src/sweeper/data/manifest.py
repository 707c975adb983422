"""The manifest of a prepared data set: what was read, kept, cut and dropped."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from sweeper.storage import JsonObject


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class SourceDescription(_Frozen):
    """What was read."""

    kind: str
    """The reader's name."""
    location: str
    """Path, hub id, or the settings of a generated world."""
    files: int
    """Files read."""
    sha256: str
    """Hash of the content."""


class SplitCounts(_Frozen):
    """A count for each split."""

    train: int
    """Count of the training split."""
    validation: int
    """Count of the validation split."""


class LengthPolicySummary(_Frozen):
    """What a length policy kept and lost. Shares are NaN (null in JSON) if their denominator is 0."""

    examples: int
    """Targets kept."""
    target_tokens: int
    """Tokens with a loss."""
    prompts_cut: int
    """Rows whose prompt was cut."""
    prompts_cut_share: float | None
    """Their share of `examples`."""
    targets_cut: int
    """Rows whose target was cut."""
    apis_in_cut_prompts: int
    """APIs listed in the cut prompts."""
    apis_lost: int
    """APIs that are no longer listed there."""
    apis_lost_share: float | None
    """Their share of `apis_in_cut_prompts`."""
    dropped: dict[str, int]
    """Targets dropped, by reason."""


@dataclass(frozen=True)
class DataSize:
    """Size of a data set, prepared or assumed: what step counts and costs depend on."""

    rows: int
    """Training rows."""
    tokens: float
    """Tokens of all training rows."""
    vocab_size: int
    """Vocabulary of the tokenizer."""


class DataManifest(_Frozen):
    """Content of `manifest.json` of a prepared data set."""

    fingerprint: str
    """Identity of the data set."""
    source: SourceDescription
    """What was read."""
    licence: str
    """What is known of the license."""
    api_format: str
    """How the APIs are listed in the system message."""
    max_length: int
    """Longest row, tokens."""
    fit_policy: str
    """The length policy."""
    read: int
    """Conversations read."""
    examples: int
    """Targets kept."""
    rows: SplitCounts
    """Rows; one row holds several targets where the steps of an answer are folded."""
    tokens: SplitCounts
    """Tokens of these rows."""
    target_tokens: SplitCounts
    """Tokens with a loss, among these."""
    truncated: int
    """Rows that lost a part of prompt or target."""
    fit: LengthPolicySummary
    """What the length policy kept and lost."""
    dropped: dict[str, int]
    """Targets and files left out, by reason."""
    valid_queries: int
    """Queries with a usable answer."""
    invalid_queries: int
    """Queries whose answers are all marked invalid."""
    arguments_not_json: int
    """Targets whose arguments are not JSON; they are kept, as ToolBench keeps them."""
    duplicate_ids: int
    """Conversations whose id occurred before."""
    problems: list[str]
    """Where and why something was left out (the first hundred)."""
    vocab_size: int
    """Vocabulary of the tokenizer."""
    files: dict[str, tuple[int, str]] = {}
    """Rows, splits and tokenizer -> size in bytes and SHA-256. Empty in manifests of version 0.1.0."""

    @property
    def size(self) -> DataSize:
        """The size that step counts and costs depend on."""
        return DataSize(self.rows.train, self.tokens.train, self.vocab_size)

    def to_document(self) -> JsonObject:
        """Return the manifest as it is stored."""
        return self.model_dump(mode="json")
