"""What `evaluate`, `judge` and `compare` do: answers in, judges over them, documents and files out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sweeper.config import DataSpec, EvaluationSpec, LlmSpec, ModelSpec
from sweeper.data import Suite, open_suite
from sweeper.errors import DataError, MissingPathError, StoppedError, StoreError, UsageError
from sweeper.evaluation.agents.base import Agent
from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judged_rates import VotesByJudge, summarize_comparisons, summarize_votes
from sweeper.evaluation.judges import Judge, Vote, judge_answers, make_llm_judge
from sweeper.models import compute_weights_fingerprint
from sweeper.storage import Store, read_json, write_bytes, write_json

JudgeName = Literal["oracle", "rules", "llm", "human"]
JUDGE_NAMES: tuple[JudgeName, ...] = get_args(JudgeName)
ShareCallback = Callable[[float], None]
"""Is told the share of the work that is done, 0 to 1."""
MAX_NAMED_ITEMS = 5
"""Of a long list, so many are named."""


@dataclass(frozen=True)
class JudgePanel:
    """Which judges are asked, the headline first, and what they need."""

    names: tuple[JudgeName, ...]
    data: DataSpec
    """The world of the oracle."""
    llm: LlmSpec | None = None
    labels: Path | None = None
    label_key: Path | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for what a judge lacks, before any work."""
        if "llm" in self.names and self.llm is None:
            raise UsageError("--judge llm", found="no endpoint", hint="--judge-endpoint URL and --judge-model NAME")
        if "human" in self.names and self.labels is None:
            raise UsageError(
                "--judge human", found="no labels", hint="judge ANSWERS --labels CSV; --label-sheet writes one to fill"
            )

    def make_judges(self, answers: Sequence[Answer], on_progress: ShareCallback = lambda share: None) -> list[Judge]:
        """The judges, ready; a language model tells `tell` its share. Raises DataError for labels that do not fit."""
        return [self._make_judge(name, answers, on_progress) for name in dict.fromkeys(self.names)]

    def _make_judge(self, name: JudgeName, answers: Sequence[Answer], on_progress: ShareCallback) -> Judge:
        if name == "oracle":
            from sweeper.evaluation.judges.oracle import OracleJudge

            return OracleJudge(self.data)
        if name == "llm" and self.llm is not None:
            return make_llm_judge(self.llm, self.cache, lambda done, total: on_progress(done / total))
        if name == "human" and self.labels is not None:
            from sweeper.evaluation.judges.human import HumanJudge

            key = None if self.label_key is None else _load_label_key(self.label_key)
            return HumanJudge.from_csv(self.labels, key=key, answers=answers)
        from sweeper.evaluation.judges.rules import RulesJudge

        return RulesJudge()


def evaluate_model(
    model: str,
    evaluation: EvaluationSpec,
    data: DataSpec,
    panel: JudgePanel,
    out: Path | None,
    storage: Path,
    *,
    endpoint: str | None = None,
    protocol: Literal["chat", "completions"] = "chat",
    input_price: float | None = None,
    output_price: float | None = None,
    seed: int = 0,
    on_progress: ShareCallback = lambda share: None,
) -> dict[str, Any]:
    """Run a model over a suite as an agent and judge it; the document of `judge`, files under `out`, or else under
    `<storage>/evaluations/`, in a folder of what is asked.

    `endpoint`: ask an OpenAI-compatible server for `model` instead of loading it; prices are money for a million of its
    tokens. Goes on from what `out` holds. Where the endpoint or the environment answered nothing, nobody is asked to
    judge, all is unscored, and `problems` says why. Raises ModelError, DataError or UsageError, and StoppedError for
    Ctrl-C.
    """
    from sweeper.evaluation.tasks import load_tasks
    from sweeper.evaluation.trial_evaluation import (
        compute_suite_fingerprint,
        count_environment_calls,
        is_incoherent,
        load_finished_episodes,
        load_local_agent,
        no_signal_reason,
        run_agent,
    )

    asked = {"model": model, "endpoint": endpoint, "protocol": protocol if endpoint else None, "seed": seed}
    asked["suite"] = compute_suite_fingerprint(evaluation, data)
    if endpoint is None:  # a path says nothing of what lies there now
        asked["weights"] = compute_weights_fingerprint(ModelSpec(name=model, source=model))
    if out is None:
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        out = storage / "evaluations" / f"{Path(model).name}-{name}"
    agent: Agent
    if endpoint is None:
        agent = load_local_agent(model, evaluation, data, seed=seed, threads=None)
    else:
        from sweeper.evaluation.agents.openai import OpenAIAgent
        from sweeper.evaluation.openai_client import EndpointSettings

        settings = EndpointSettings(
            url=endpoint,
            model=model,
            temperature=evaluation.temperature,
            max_tokens=evaluation.max_new_tokens,
            concurrency=evaluation.batch_size,
            input_price=input_price,
            output_price=output_price,
        )
        agent = OpenAIAgent(settings, data, protocol=protocol, seed=seed)
    agent.batches(load_tasks(evaluation, data))  # refuses what can never fit, before anything is written
    _check_same_request(out / "asked.json", asked)
    part = _PhaseProgress(on_progress, 2)  # the episodes, and judging them
    try:
        episodes, answers = run_agent(out, agent, evaluation, data, method=Path(model).name, on_progress=part)
    except KeyboardInterrupt:
        raise _make_stopped_error(len(load_finished_episodes(out)), "episodes") from None
    part.advance()
    document, judged = _judge_with_panel(answers, panel, on_progress=part, no_signal_reason=no_signal_reason(episodes))
    metrics = {
        "finished": sum(e.ended == "answered" for e in episodes) / len(episodes),
        "overgenerated": sum(e.overgenerated > 0 for e in episodes) / len(episodes),
        "incoherent": sum(is_incoherent(e) for e in episodes) / len(episodes),
        "hallucinated": sum(e.hallucinated > 0 for e in episodes) / len(episodes),
        "tokens": sum(e.tokens for e in episodes),
        "ended": dict(sorted(Counter(str(e.ended) for e in episodes).items())),
        "unreachable_reasons": dict(Counter(e.reason for e in episodes if e.ended == "unreachable")),
    }
    usage = getattr(getattr(agent, "endpoint", None), "usage", None)
    document |= {"model": model, "directory": str(out), "episodes": metrics, "usage": vars(usage) if usage else None}
    document |= {"environment": count_environment_calls(episodes)}
    _write_outputs(out, answers, judged, document, model=Path(model).name)
    return document


def judge_saved_answers(
    answers: Sequence[Answer],
    panel: JudgePanel,
    *,
    suite: Suite | None = None,
    solvable: Suite | None = None,
    out: Path | None = None,
    model: str = "answers",
    on_progress: ShareCallback = lambda share: None,
) -> dict[str, Any]:
    """Judge anyone's answers; the document of `judge --json`.

    `suite`: its queries without an answer are missing, and answers to others are not judged; both are counted
    (`missing`, `outside_suite`). `problems`: judges that answered nothing. With `out`, our answers, ToolEval's result
    files and the votes are written there too. Raises UsageError or DataError, and StoppedError for Ctrl-C.
    """
    from sweeper.evaluation.answer_files import format_answer_line

    asked = None if suite is None else _list_query_keys(suite)
    inside = [answer for answer in answers if asked is None or answer.key in asked]
    outside = [answer for answer in answers if asked is not None and answer.key not in asked]
    if suite is not None and not inside:
        raise UsageError(
            "--suite",
            requested=f"queries of {', '.join(suite.subsets)}",
            found=f"no answer to any of them; the answers are to {_name_first_answers(answers)}",
            hint="the suite that was asked; a converted file is named by its subset",
        )
    missing = (asked or set()) - {answer.key for answer in inside}
    known = None if solvable is None else _list_query_keys(solvable)
    document, judged = _judge_with_panel(inside, panel, missing=missing, solvable=known, on_progress=on_progress)
    document |= {"outside_suite": {"answers": len(outside), "first": [list(a.key) for a in outside[:MAX_NAMED_ITEMS]]}}
    if out is not None:
        lines = "".join(format_answer_line(answer) + "\n" for answer in inside)
        write_bytes(out / "answers.jsonl", lines.encode())
        _write_outputs(out, inside, judged, document, model=model)
    return document


def _list_query_keys(suite: Suite) -> set[tuple[str, str]]:
    return {(subset, query.id) for subset, queries in suite.subsets.items() for query in queries}


def _name_first_answers(answers: Sequence[Answer]) -> str:
    """`query 12 of G1_tool, query 13 of G1_tool, …`."""
    first = ", ".join(f"query {answer.query_id} of {answer.subset}" for answer in answers[:MAX_NAMED_ITEMS])
    return first + (", …" if len(answers) > MAX_NAMED_ITEMS else "")


def compare_saved_answers(
    answers_a: Sequence[Answer],
    answers_b: Sequence[Answer],
    panel: JudgePanel,
    on_progress: ShareCallback = lambda share: None,
) -> dict[str, Any]:
    """Win rate of A over B on the queries that both answer; the document of `compare --json`.

    Raises UsageError, and StoppedError for Ctrl-C.
    """
    from sweeper.evaluation.pairwise import PairwiseResult, compare_pairs

    theirs = {answer.key: answer for answer in answers_b}
    pairs = [(answer, theirs[answer.key]) for answer in answers_a if answer.key in theirs]
    if not pairs:
        raise UsageError("compare", found="no query that both sides answer", hint="answers to the same suite")
    if len(set(panel.names)) > 1:
        raise UsageError("compare", requested=", ".join(panel.names), found="several judges", hint="one --judge")
    part = _PhaseProgress(on_progress, 3)  # the votes on A, those on B, and preferences
    (judge,) = panel.make_judges([answer for pair in pairs for answer in pair], part)
    try:
        votes_a = judge_answers(judge, [pair[0] for pair in pairs])
        part.advance()
        votes_b = judge_answers(judge, [pair[1] for pair in pairs])
        part.advance()
        found = compare_pairs(pairs, votes_a, votes_b, judge)
    except KeyboardInterrupt:
        raise _make_stopped_error(_count_cached([judge]), "judgements") from None
    problems = _collect_problems([judge], {judge.name: [*votes_a, *votes_b]})
    if problems:  # what was decided without the judge is no win rate
        found = [PairwiseResult(None, "unscored", comparison.reason) for comparison in found]
    document = summarize_comparisons(found, [answer for answer, _ in pairs])
    left_out = {"a": len(answers_a) - len(pairs), "b": len(answers_b) - len(pairs)}
    document |= {"judge": judge.name, "queries": len(pairs), "answered_by_one_side_only": left_out}
    return document | {"judging_usage": _collect_usage([judge]), "problems": problems}


def write_label_sheet(answers: Sequence[Answer], path: Path, n_items: int) -> dict[str, Any]:
    """What people are to label, blinded and in random order, and beside it the key, which they should not see.

    At most all answers; `asked` says how many were asked for. Raises UsageError where one of the files exists: it may
    hold labels.
    """
    from sweeper.evaluation.judges.human import make_label_sheet

    beside = path.with_suffix(".key.json")
    for file in (path, beside):
        if file.exists():
            raise UsageError(
                f"--label-sheet {path}",
                found=f"{file} exists, and may hold labels or their key",
                hint="another name, or move that file away",
            )
    rows, key = make_label_sheet(answers, min(n_items, len(answers)), random.Random(0))  # noqa: S311 - an order, no secret
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_bytes(path, text.getvalue().encode())
    write_json(beside, key)
    return {"sheet": str(path), "key": str(beside), "items": len(rows) - 1, "asked": n_items}


def open_test_suite(data: DataSpec) -> Suite:
    """The suite at a data spec's path, or of its world. Raises DataError."""
    return open_suite(data)


def _judge_with_panel(
    answers: Sequence[Answer],
    panel: JudgePanel,
    *,
    missing: Iterable[tuple[str, str]] = (),
    solvable: set[tuple[str, str]] | None = None,
    no_signal_reason: str = "",
    on_progress: ShareCallback = lambda share: None,
) -> tuple[dict[str, Any], VotesByJudge]:
    """The document, and the votes by judge. `silence`: why the answers say nothing of their agent; nobody is asked."""
    part = _PhaseProgress(on_progress, len(set(panel.names)))
    judges = panel.make_judges(answers, part)
    judged: dict[str, list[list[Vote]]] = {}
    try:
        for judge in judges:
            unscored = [Vote(judge.name, 0, None, no_signal_reason)]
            judged[judge.name] = [unscored for _ in answers] if no_signal_reason else judge_answers(judge, answers)
            part.advance()
    except KeyboardInterrupt:
        raise _make_stopped_error(_count_cached(judges), "judgements") from None
    document = summarize_votes(answers, judged, missing=missing, solvable=solvable)
    problems = [no_signal_reason] if no_signal_reason else _collect_problems(judges, judged)
    return document | {"judging_usage": _collect_usage(judges), "problems": problems}, judged


class _PhaseProgress:
    """Tells the shares of one part of the work after the other as shares of the whole."""

    def __init__(self, on_progress: ShareCallback, n_phases: int) -> None:
        self.on_progress, self.n_phases, self.n_finished = on_progress, n_phases, 0

    def __call__(self, share: float) -> None:
        self.on_progress((self.n_finished + share) / self.n_phases)

    def advance(self) -> None:
        """This part is done."""
        self.n_finished += 1
        self.on_progress(self.n_finished / self.n_phases)


def _collect_problems(judges: Sequence[Judge], votes_by_judge: VotesByJudge) -> list[str]:
    """What to say of each judge that answered nothing."""
    found = []
    for judge in judges:
        if why := getattr(judge, "failure_reason", ""):
            unscored = sum(all(vote.status is None for vote in cast) for cast in votes_by_judge[judge.name])
            found.append(f"judge {judge.name} answered nothing, {unscored:,} answers are unscored: {why}")
    return found


def _collect_usage(judges: Sequence[Judge]) -> dict[str, Any]:
    return {judge.name: vars(usage) for judge in judges if (usage := getattr(judge, "usage", None)) is not None}


def _count_cached(judges: Sequence[Judge]) -> int:
    return sum(getattr(judge, "cached_count", 0) for judge in judges)


def _make_stopped_error(n_saved: int, what: str) -> StoppedError:
    return StoppedError(f"stopped; the same command goes on from {n_saved:,} kept {what}")


def _load_label_key(path: Path) -> Any:
    if not path.is_file():
        raise MissingPathError(f"--key {path}", found="no such file", hint="the .key.json that --label-sheet wrote")
    try:
        return read_json(path)
    except StoreError as error:  # its advice, to delete the file, would lose the labels
        raise DataError(f"--key {path}", found=error.found, hint="the .key.json that --label-sheet wrote") from error


def _write_outputs(
    out: Path, answers: Sequence[Answer], votes_by_judge: VotesByJudge, document: dict[str, Any], *, model: str
) -> None:
    """Answers in ToolBench's own forms, ToolEval's result files of the headline judge, and the document."""
    from sweeper.evaluation.toolbench_format import make_converted_document, make_pass_rate_results, make_raw_document

    votes = next(iter(votes_by_judge.values()))
    for subset in dict.fromkeys(answer.subset for answer in answers):
        chosen = [k for k, answer in enumerate(answers) if answer.subset == subset]
        mine = [answers[k] for k in chosen]
        converted = {answer.query_id: make_converted_document(answer) for answer in mine}
        write_bytes(out / "converted" / model / f"{subset}.json", json.dumps(converted, indent=1).encode())
        for answer in mine:
            if not any(call.cut for call in answer.calls):
                raw = json.dumps(make_raw_document(answer), indent=1).encode()
                write_bytes(out / "raw" / model / subset / f"{answer.query_id}_CoT@1.json", raw)
        results, table = make_pass_rate_results(mine, [votes[k] for k in chosen], model=model)
        folder = out / "pass_rate_results" / model
        write_bytes(folder / f"{subset}_{model}.json", json.dumps(results, indent=4, ensure_ascii=False).encode())
        write_bytes(folder / f"{subset}_{model}.csv", table.encode())
    rows = [
        {
            "subset": a.subset,
            "query_id": a.query_id,
            "judge": v.judge,
            "vote": v.index,
            "status": v.status,
            "task": v.task_status,
            "task_fault": v.task_fault,
            "reason": v.reason,
            "rules": dict(v.rules),
        }
        for name in votes_by_judge
        for a, cast in zip(answers, votes_by_judge[name], strict=True)
        for v in cast
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_bytes(out / "votes.jsonl", lines.encode("utf-8", "replace"))
    write_json(out / "judged.json", document)


def _check_same_request(path: Path, request: dict[str, Any]) -> None:
    """A folder holds one evaluation: another model's episodes must not be taken for this one's."""
    if path.exists() and (found := read_json(path)) != request:
        raise UsageError(
            f"--out {path.parent}",
            requested=f"{request}",
            found=f"the evaluation of {found}",
            hint="another --out, or delete that folder",
        )
    write_json(path, request)


def resolve_model_path(name: str, store: Store) -> str:
    """A model by directory, by its name in `configs/models/`, by a trial's fingerprint in the store, or by hub id."""
    from sweeper.config import load_model_spec
    from sweeper.errors import ConfigError

    if Path(name).is_dir():
        return name
    # A hub id is one or two words; everything else with a slash is a path.
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/"):
        why = "it is a file" if Path(name).exists() else "the path does not exist"
        raise MissingPathError(f"model {name}", found=why, hint="the folder of a checkpoint, as save_pretrained writes")
    if re.fullmatch(r"[0-9a-f]{16}", name):
        store.pull(store.trial_folder(name), patterns=["model/*"])
    if (store.trial_folder(name) / "model").is_dir():
        return str(store.trial_folder(name) / "model")
    try:
        found = load_model_spec(name)
    except ConfigError:
        if "/" in name and not name.startswith((".", "/")):
            return name
        raise
    if found.source is None:
        raise UsageError(
            f"model {name}", found="it is built from a config and has no weights", hint="a trial's fingerprint"
        )
    return found.source
