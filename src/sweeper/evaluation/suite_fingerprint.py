"""The fingerprint of an evaluation suite: a hash of everything that can change an outcome."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.data.sources import GENERATED
from sweeper.errors import DataError, MissingPathError
from sweeper.evaluation.gold_likelihood import open_gold_answers
from sweeper.evaluation.judges import JudgeContext, make_judge
from sweeper.storage import list_files

EVALUATION_SEMANTICS = 5
"""Increased with every code change that changes the outcome of an unchanged evaluation."""

_NON_IDENTITY_LLM_FIELDS = {"concurrency", "requests_per_minute", "timeout_seconds", "input_price", "output_price"}
_NON_IDENTITY_FIELDS = {"name": True, "batch_size": True, "llm": _NON_IDENTITY_LLM_FIELDS}


def compute_suite_fingerprint(evaluation: EvaluationSpec, data: DataSpec) -> str:
    """Hash the queries, the prompt format, the agent loop and the judges (SHA-256, first 16 hex digits).

    Args:
        evaluation: the suite, the environment and the judges.
        data: the prompt format and the generated world.

    Returns:
        16 hex digits.

    Raises:
        MissingPathError: queries or recorded responses that do not exist.
        DataError: queries or recorded responses that cannot be read.

    Example:
        >>> from sweeper.config import load_data_spec, load_evaluation_spec
        >>> evaluation, data = load_evaluation_spec("toolworld"), load_data_spec("toolworld")
        >>> len(compute_suite_fingerprint(evaluation, data))
        16
    """
    from sweeper import toolworld

    context = JudgeContext(data, llm=evaluation.llm)
    judge_identities = (make_judge(name, context).identity for name in evaluation.judges)
    identity = {
        "semantics": EVALUATION_SEMANTICS,
        "world": [toolworld.WORLD_VERSION, asdict(toolworld.WorldConfig.from_mapping(data.toolworld))],
        "files": [_hash_content(path) for path in (evaluation.queries, evaluation.recorded) if path is not None],
        "api_format": data.api_format,
        "fit": data.fit,
        "evaluation": _select_identity_settings(evaluation, data),
        "judge": "\n".join(filter(None, judge_identities)),
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _select_identity_settings(evaluation: EvaluationSpec, data: DataSpec) -> dict[str, object]:
    settings: dict[str, object] = evaluation.model_dump(
        exclude=_NON_IDENTITY_FIELDS | {"queries": True, "recorded": True}  # type: ignore[arg-type]
    )
    if settings["split"] == "test":
        del settings["split"]  # fingerprints of this split are older than the field
    if settings["gold"] is None:
        del settings["gold"]
    elif evaluation.gold != GENERATED:
        settings["gold"] = open_gold_answers(evaluation, data).compute_sha256()
    return settings


def _hash_content(path: str) -> str:
    """Hash the file names and bytes of a folder's JSON files, or of one file (SHA-256)."""
    root = Path(path).expanduser()
    hint = "set evaluation.queries or evaluation.recorded to a readable path"
    if not root.exists():
        raise MissingPathError(f"evaluation path {path}", found="no such file or folder", hint=hint)
    digest = hashlib.sha256()
    for file in list_files(root, "*.json").files if root.is_dir() else [root]:
        try:
            digest.update(file.name.encode() + hashlib.sha256(file.read_bytes()).digest())
        except OSError as error:
            raise DataError(str(file), found=f"cannot be read: {error.strerror}", hint=hint) from error
    return digest.hexdigest()
