"""The commands `evaluate`, `judge` and `compare`, which need no study: answers in, reports and files out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sweeper.config import DataSpec, EvaluationSpec, ModelSpec
from sweeper.data import Suite
from sweeper.errors import MissingPathError, UsageError
from sweeper.evaluation.agent_run import (
    count_environment_calls,
    is_incoherent,
    load_finished_episodes,
    load_local_agent,
    no_signal_reason,
    run_agent,
)
from sweeper.evaluation.agents.base import Agent
from sweeper.evaluation.agents.openai import ApiProtocol, OpenAIAgent
from sweeper.evaluation.answers import Answer, QueryKey
from sweeper.evaluation.episode import Episode
from sweeper.evaluation.judge_panel import (
    MAX_NAMED_ITEMS,
    JudgePanel,
    JudgeReport,
    PhaseProgress,
    ShareCallback,
    collect_problems,
    collect_usage,
    count_cached,
    ignore_progress,
    judge_with_panel,
    make_stopped_error,
)
from sweeper.evaluation.judged_rates import ComparisonReport, score_majorities, summarize_comparisons
from sweeper.evaluation.judges import JudgeContext, Vote, judge_answers
from sweeper.evaluation.judges.human import HumanJudge, LabelKey, make_label_sheet
from sweeper.evaluation.judging_files import write_judging_files
from sweeper.evaluation.openai_client import EndpointSettings
from sweeper.evaluation.suite_fingerprint import compute_suite_fingerprint
from sweeper.models import compute_weights_fingerprint
from sweeper.statistics import CorrectedEstimate, estimate_corrected_difference
from sweeper.storage import Store, read_json, write_bytes, write_json
from sweeper.training import check_trial_files

__all__ = [
    "AgentEndpoint",
    "JudgeContext",
    "JudgePanel",
    "LabelFile",
    "LabelSheet",
    "ModelEvaluation",
    "compare_saved_answers",
    "evaluate_model",
    "judge_saved_answers",
    "resolve_model_path",
    "write_label_sheet",
]


@dataclass(frozen=True)
class AgentEndpoint:
    """An OpenAI-compatible server that runs the agent's model."""

    url: str
    protocol: ApiProtocol = "chat"
    input_price: float | None = None
    """Price of a million input tokens, in any currency."""
    output_price: float | None = None
    """Price of a million output tokens."""


@dataclass(frozen=True)
class ModelEvaluation:
    """A request to run one model over a suite and judge it."""

    model: str
    """A checkpoint folder or hub id; with `endpoint`, the model's name there."""
    evaluation: EvaluationSpec
    data: DataSpec
    panel: JudgePanel
    storage: Path
    """The store; results go below its `evaluations/` unless `out` is given."""
    out: Path | None = None
    """Folder of the results. An interrupted evaluation in it is resumed."""
    endpoint: AgentEndpoint | None = None
    """None loads the model here."""
    seed: int = 0

    @property
    def model_name(self) -> str:
        """The last part of the model's path."""
        return Path(self.model).name

    def make_identity(self) -> dict[str, object]:
        """Describe everything that determines the episodes, as written to `asked.json`."""
        identity: dict[str, object] = {
            "model": self.model,
            "endpoint": self.endpoint.url if self.endpoint else None,
            "protocol": self.endpoint.protocol if self.endpoint else None,
            "seed": self.seed,
            "suite": compute_suite_fingerprint(self.evaluation, self.data),
        }
        if self.endpoint is None:  # the content of a path can change
            identity["weights"] = compute_weights_fingerprint(ModelSpec(name=self.model, source=self.model))
        return identity

    def make_agent(self) -> Agent:
        """Load the model, or make the client of its endpoint. Raises ModelError."""
        if self.endpoint is None:
            return load_local_agent(self.model, self.evaluation, self.data, seed=self.seed, threads=None)
        settings = EndpointSettings(
            url=self.endpoint.url,
            model=self.model,
            temperature=self.evaluation.temperature,
            max_tokens=self.evaluation.max_new_tokens,
            concurrency=self.evaluation.batch_size,
            input_price=self.endpoint.input_price,
            output_price=self.endpoint.output_price,
        )
        return OpenAIAgent(settings, self.data, protocol=self.endpoint.protocol, seed=self.seed)


def evaluate_model(request: ModelEvaluation, on_progress: ShareCallback = ignore_progress) -> JudgeReport:
    """Run a model over a suite as an agent, judge its answers, and write everything into a folder.

    Resumes what the folder contains. If the endpoint or the environment executed nothing, no judge is used, all answers
    are unscored, and the report's `problems` state why.

    Raises:
        ModelError: a model that cannot be loaded.
        DataError: queries or recorded responses that cannot be read.
        UsageError: wrong settings, or a folder with another evaluation.
        StoppedError: Ctrl-C.
    """
    from sweeper.evaluation.tasks import load_tasks

    progress = PhaseProgress(on_progress, 2)  # the episodes, and judging them
    judging_progress = PhaseProgress(progress, len(set(request.panel.names)))
    judges = request.panel.make_judges(on_progress=judging_progress)  # first: a missing setting fails before any work
    identity = request.make_identity()
    out = request.out or request.storage / "evaluations" / f"{request.model_name}-{_hash_identity(identity)}"
    agent = request.make_agent()
    agent.batches(load_tasks(request.evaluation, request.data))  # rejects prompts that cannot fit before any file
    _check_same_request(out / "asked.json", identity)
    try:
        episodes, answers = run_agent(
            out, agent, request.evaluation, request.data, method=request.model_name, on_progress=progress
        )
    except KeyboardInterrupt:
        raise make_stopped_error(len(load_finished_episodes(out)), "episodes") from None
    progress.advance()
    report = judge_with_panel(answers, judges, judging_progress, no_signal_reason=no_signal_reason(episodes))
    usage = agent.endpoint.usage.to_document() if isinstance(agent, OpenAIAgent) else None
    details = {
        "model": request.model,
        "directory": str(out),
        "episodes": _summarize_episodes(episodes),
        "usage": usage,
        "environment": count_environment_calls(episodes),
    }
    report = replace(report, details=details)
    write_judging_files(out, answers, report, model=request.model_name)
    return report


def judge_saved_answers(
    answers: Sequence[Answer],
    panel: JudgePanel,
    *,
    suite: Suite | None = None,
    solvable: Suite | None = None,
    out: Path | None = None,
    model: str = "answers",
    on_progress: ShareCallback = ignore_progress,
) -> JudgeReport:
    """Judge the answers of any system.

    Args:
        answers: what to judge.
        suite: the queries of the suite. Those without an answer are counted as `missing`; answers to other queries are
            not judged, and counted as `outside_suite`.
        solvable: the queries that count as solvable; None takes the judges' votes.
        out: folder for the answers, ToolEval's result files and the votes; None writes nothing.
        model: names the files in `out`.
        on_progress: called with the finished share.

    Raises:
        UsageError: a missing setting of a judge, or no answer to the suite's queries.
        DataError: labels that cannot be read.
        StoppedError: Ctrl-C.
    """
    from sweeper.evaluation.answer_files import format_answer_line

    suite_keys = None if suite is None else _list_query_keys(suite)
    inside = [answer for answer in answers if suite_keys is None or answer.key in suite_keys]
    outside = [answer for answer in answers if suite_keys is not None and answer.key not in suite_keys]
    if suite is not None and not inside:
        raise UsageError(
            "--suite",
            requested=f"queries of {', '.join(suite.subsets)}",
            found=f"no answer to any of them; the answers are to {_name_first_answers(answers)}",
            hint="give the suite that was run; a converted file must be named after its subset",
        )
    progress = PhaseProgress(on_progress, len(set(panel.names)))
    report = judge_with_panel(
        inside,
        panel.make_judges(inside, progress),
        progress,
        missing=(suite_keys or set()) - {answer.key for answer in inside},
        solvable=None if solvable is None else _list_query_keys(solvable),
    )
    first = [list(answer.key) for answer in outside[:MAX_NAMED_ITEMS]]
    report = replace(report, details={"outside_suite": {"answers": len(outside), "first": first}})
    if out is not None:
        lines = "".join(format_answer_line(answer) + "\n" for answer in inside)
        write_bytes(out / "answers.jsonl", lines.encode())
        write_judging_files(out, inside, report, model=model)
    return report


def compare_saved_answers(
    answers_a: Sequence[Answer],
    answers_b: Sequence[Answer],
    panel: JudgePanel,
    on_progress: ShareCallback = ignore_progress,
    labels: tuple[LabelFile, LabelFile] | None = None,
) -> ComparisonReport:
    """Compute the win rate of A over B on the queries that both answer.

    With `labels` of A and of B, also the difference of their pass rates by the judge, corrected by the labels.

    Raises:
        UsageError: no common query, several judges, or a missing setting of the judge.
        DataError: labels that cannot be read.
        StoppedError: Ctrl-C.
    """
    from sweeper.evaluation.pairwise import PairwiseResult, compare_pairs

    b_by_key = {answer.key: answer for answer in answers_b}
    pairs = [(answer, b_by_key[answer.key]) for answer in answers_a if answer.key in b_by_key]
    if not pairs:
        raise UsageError("compare", found="no query that both sides answer", hint="give answers to the same suite")
    if len(set(panel.names)) > 1:
        raise UsageError("compare", requested=", ".join(panel.names), found="several judges", hint="give one --judge")
    people = [file.read(own) for file, own in zip(labels or (), (answers_a, answers_b), strict=False)]
    progress = PhaseProgress(on_progress, 3)  # the votes on A, those on B, and preferences
    (judge,) = panel.make_judges([answer for pair in pairs for answer in pair], progress)
    try:
        votes_a = judge_answers(judge, [pair[0] for pair in pairs])
        progress.advance()
        votes_b = judge_answers(judge, [pair[1] for pair in pairs])
        progress.advance()
        results = compare_pairs(pairs, votes_a, votes_b, judge)
    except KeyboardInterrupt:
        raise make_stopped_error(count_cached([judge]), "judgements") from None
    problems = collect_problems([judge], {judge.name: [*votes_a, *votes_b]})
    if problems:  # pairs that are decided without the judge give no win rate
        results = [PairwiseResult(None, "unscored", result.reason) for result in results]
    return ComparisonReport(
        rates=summarize_comparisons(results, [answer for answer, _ in pairs]),
        judge=judge.name,
        queries=len(pairs),
        only_a=len(answers_a) - len(pairs),
        only_b=len(answers_b) - len(pairs),
        judging_usage=collect_usage([judge]),
        problems=tuple(problems),
        difference=_correct_difference(pairs, (votes_a, votes_b), people) if people else None,
    )


def _correct_difference(
    pairs: Sequence[tuple[Answer, Answer]],
    votes: tuple[Sequence[Sequence[Vote]], Sequence[Sequence[Vote]]],
    people: Sequence[HumanJudge],
) -> CorrectedEstimate:
    """Estimate the rate of A minus that of B; labels of queries that one side did not answer count as left out."""
    by_people = [judge.judge([pair[side] for pair in pairs]) for side, judge in enumerate(people)]
    labels = score_majorities(by_people[0]), score_majorities(by_people[1])
    scores = score_majorities(votes[0]), score_majorities(votes[1])
    found = estimate_corrected_difference(labels, scores, [a.subset for a, _ in pairs])
    shared = {a.key for a, _ in pairs}
    outside = sum(len(judge.list_labelled() - shared) for judge in people)
    return replace(found, labels_left_out=found.labels_left_out + outside)


@dataclass(frozen=True)
class LabelFile:
    """A filled label sheet."""

    path: Path
    key: Path | None = None
    """The key that was written beside it; needed where the sheet has the column `item`."""

    def read(self, answers: Sequence[Answer]) -> HumanJudge:
        """Read the labels of `answers`. Raises DataError for labels that cannot be read or are of other answers."""
        key = None if self.key is None else LabelKey.read(self.key)
        return HumanJudge.from_csv(self.path, key=key, answers=answers)


@dataclass(frozen=True)
class LabelSheet:
    """A label sheet on disk."""

    sheet: Path
    key: Path
    n_items: int
    n_requested: int

    def to_document(self) -> dict[str, object]:
        """Make the document of `judge --label-sheet --json`."""
        return {"sheet": str(self.sheet), "key": str(self.key), "items": self.n_items, "asked": self.n_requested}


def write_label_sheet(answers: Sequence[Answer], path: Path, n_items: int) -> LabelSheet:
    """Write a blinded label sheet in random order, and beside it its key, which annotators should not see.

    Args:
        answers: what to label.
        path: the sheet, a CSV file.
        n_items: number of answers on it; all answers where there are fewer.

    Raises:
        UsageError: one of the files exists, since it may contain labels.
    """
    key_path = path.with_suffix(".key.json")
    for file in (path, key_path):
        if file.exists():
            raise UsageError(
                f"--label-sheet {path}",
                found=f"{file} exists and may contain labels or their key",
                hint="choose another name, or move that file away",
            )
    rows, key = make_label_sheet(answers, min(n_items, len(answers)), random.Random(0))  # noqa: S311 - an order, no secret
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_bytes(path, text.getvalue().encode())
    write_json(key_path, key.to_document())
    return LabelSheet(path, key_path, n_items=len(rows) - 1, n_requested=n_items)


def resolve_model_path(name: str, store: Store) -> str:
    """Find a model by folder, by fingerprint of a trial in the store, by name in `configs/models/`, or by hub id.

    Returns:
        A folder or a hub id.

    Raises:
        MissingPathError: a path that does not exist or is a file.
        UsageError: a config without weights.
        ConfigError: an unknown name.
    """
    from sweeper.config import load_model_spec
    from sweeper.errors import ConfigError

    if Path(name).is_dir():
        return name
    # A hub id has at most one slash.
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/"):
        problem = "it is a file" if Path(name).exists() else "the path does not exist"
        raise MissingPathError(
            f"model {name}", found=problem, hint="give the folder of a checkpoint, as save_pretrained writes it"
        )
    if re.fullmatch(r"[0-9a-f]{16}", name):
        store.pull(store.trial_folder(name), patterns=["model/*"])
    if (store.trial_folder(name) / "model").is_dir():
        check_trial_files(store, name, "model/")
        return str(store.trial_folder(name) / "model")
    try:
        spec = load_model_spec(name)
    except ConfigError as error:
        if "/" in name:
            return name
        found = "not a folder, a trial's fingerprint, a name of configs/models/, or a hub id (owner/name)"
        raise ConfigError(f"model {name}", found=found, hint=error.hint) from error
    if spec.source is None:
        raise UsageError(
            f"model {name}", found="it is built from a config and has no weights", hint="give a trial's fingerprint"
        )
    return spec.source


def _list_query_keys(suite: Suite) -> set[QueryKey]:
    return {(subset, query.id) for subset, queries in suite.subsets.items() for query in queries}


def _name_first_answers(answers: Sequence[Answer]) -> str:
    """Format `query 12 of G1_tool, query 13 of G1_tool, …`."""
    first = ", ".join(f"query {answer.query_id} of {answer.subset}" for answer in answers[:MAX_NAMED_ITEMS])
    return first + (", …" if len(answers) > MAX_NAMED_ITEMS else "")


def _hash_identity(identity: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _check_same_request(path: Path, identity: dict[str, object]) -> None:
    """Check that the folder holds this evaluation or none, so that episodes of different models do not mix."""
    if path.exists() and (existing := read_json(path)) != identity:
        raise UsageError(
            f"--out {path.parent}",
            requested=f"{identity}",
            found=f"the evaluation of {existing}",
            hint="choose another --out, or delete that folder",
        )
    write_json(path, identity)


def _summarize_episodes(episodes: Sequence[Episode]) -> dict[str, object]:
    n = len(episodes)
    return {
        "finished": sum(e.ended == "answered" for e in episodes) / n,
        "overgenerated": sum(e.overgenerated > 0 for e in episodes) / n,
        "incoherent": sum(is_incoherent(e) for e in episodes) / n,
        "hallucinated": sum(e.hallucinated > 0 for e in episodes) / n,
        "tokens": sum(e.tokens for e in episodes),
        "reasoned": sum(e.reasoned for e in episodes),
        "ended": dict(sorted(Counter(str(e.ended) for e in episodes).items())),
        "unreachable_reasons": dict(Counter(e.reason for e in episodes if e.ended == "unreachable")),
    }
