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

from sweeper.data import Suite, open_suite
from sweeper.errors import DataError, MissingPathError, StoppedError, StoreError, UsageError
from sweeper.evaluate.agent import Agent
from sweeper.evaluate.answers import Answer
from sweeper.evaluate.judges import Judge, Vote, judge_answers, llm_judge
from sweeper.models import weights_fingerprint
from sweeper.report.judged import Judged, judge_document, outcomes_of
from sweeper.spec import DataSpec, EvaluationSpec, LlmSpec, ModelSpec
from sweeper.store import Store, read_json, write_bytes, write_json

JudgeName = Literal["oracle", "rules", "llm", "human"]
JUDGES: tuple[JudgeName, ...] = get_args(JudgeName)
Tell = Callable[[float], None]
"""Is told the share of the work that is done, 0 to 1."""
NAMED = 5
"""Of a long list, so many are named."""


@dataclass(frozen=True)
class Panel:
    """Which judges are asked, the headline first, and what they need."""

    names: tuple[JudgeName, ...]
    data: DataSpec
    """The world of the oracle."""
    llm: LlmSpec | None = None
    labels: Path | None = None
    key: Path | None = None
    cache: Path | None = None

    def __post_init__(self) -> None:
        """Raises UsageError for what a judge lacks, before any work."""
        if "llm" in self.names and self.llm is None:
            raise UsageError("--judge llm", found="no endpoint", do="--judge-endpoint URL and --judge-model NAME")
        if "human" in self.names and self.labels is None:
            raise UsageError(
                "--judge human", found="no labels", do="judge ANSWERS --labels CSV; --label-sheet writes one to fill"
            )

    def judges(self, answers: Sequence[Answer], tell: Tell = lambda share: None) -> list[Judge]:
        """The judges, ready; a language model tells `tell` its share. Raises DataError for labels that do not fit."""
        return [self._judge(name, answers, tell) for name in dict.fromkeys(self.names)]

    def _judge(self, name: JudgeName, answers: Sequence[Answer], tell: Tell) -> Judge:
        if name == "oracle":
            from sweeper.evaluate.judges.oracle import OracleJudge

            return OracleJudge(self.data)
        if name == "llm" and self.llm is not None:
            return llm_judge(self.llm, self.cache, lambda done, total: tell(done / total))
        if name == "human" and self.labels is not None:
            from sweeper.evaluate.judges.human import HumanJudge

            key = None if self.key is None else _label_key(self.key)
            return HumanJudge.from_csv(self.labels, key=key, answers=answers)
        from sweeper.evaluate.judges.rules import RulesJudge

        return RulesJudge()


def evaluate_model(
    model: str,
    evaluation: EvaluationSpec,
    data: DataSpec,
    panel: Panel,
    out: Path | None,
    storage: Path,
    *,
    endpoint: str | None = None,
    protocol: Literal["chat", "completions"] = "chat",
    input_price: float | None = None,
    output_price: float | None = None,
    seed: int = 0,
    tell: Tell = lambda share: None,
) -> dict[str, Any]:
    """Run a model over a suite as an agent and judge it; the document of `judge`, files under `out`, or else under
    `<storage>/evaluations/`, in a folder of what is asked.

    `endpoint`: ask an OpenAI-compatible server for `model` instead of loading it; prices are money for a million of its
    tokens. Goes on from what `out` holds. Where the endpoint or the environment answered nothing, nobody is asked to
    judge, all is unscored, and `problems` says why. Raises ModelError, DataError or UsageError, and StoppedError for
    Ctrl-C.
    """
    from sweeper.evaluate.run import (
        environment_counts,
        incoherent,
        kept_episodes,
        local_agent,
        run_agent,
        silence_of,
        suite_fingerprint,
    )
    from sweeper.evaluate.tasks import tasks

    asked = {"model": model, "endpoint": endpoint, "protocol": protocol if endpoint else None, "seed": seed}
    asked["suite"] = suite_fingerprint(evaluation, data)
    if endpoint is None:  # a path says nothing of what lies there now
        asked["weights"] = weights_fingerprint(ModelSpec(name=model, source=model))
    if out is None:
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        out = storage / "evaluations" / f"{Path(model).name}-{name}"
    agent: Agent
    if endpoint is None:
        agent = local_agent(model, evaluation, data, seed=seed, threads=None)
    else:
        from sweeper.evaluate.endpoint import EndpointSettings
        from sweeper.evaluate.served_agent import ServedAgent

        settings = EndpointSettings(
            url=endpoint,
            model=model,
            temperature=evaluation.temperature,
            max_tokens=evaluation.max_new_tokens,
            concurrency=evaluation.batch_size,
            input_price=input_price,
            output_price=output_price,
        )
        agent = ServedAgent(settings, data, protocol=protocol, seed=seed)
    agent.chunks(tasks(evaluation, data))  # refuses what can never fit, before anything is written
    _same_as_before(out / "asked.json", asked)
    part = _Part(tell, 2)  # the episodes, and judging them
    try:
        episodes, answers = run_agent(out, agent, evaluation, data, method=Path(model).name, tell=part)
    except KeyboardInterrupt:
        raise _stopped(len(kept_episodes(out)), "episodes") from None
    part.next()
    document, judged = _judged(answers, panel, tell=part, silence=silence_of(episodes))
    metrics = {
        "finished": sum(e.ended == "answered" for e in episodes) / len(episodes),
        "overgenerated": sum(e.overgenerated > 0 for e in episodes) / len(episodes),
        "incoherent": sum(incoherent(e) for e in episodes) / len(episodes),
        "hallucinated": sum(e.hallucinated > 0 for e in episodes) / len(episodes),
        "tokens": sum(e.tokens for e in episodes),
        "ended": dict(sorted(Counter(str(e.ended) for e in episodes).items())),
        "unreachable_reasons": dict(Counter(e.reason for e in episodes if e.ended == "unreachable")),
    }
    usage = getattr(getattr(agent, "endpoint", None), "usage", None)
    document |= {"model": model, "directory": str(out), "episodes": metrics, "usage": vars(usage) if usage else None}
    document |= {"environment": environment_counts(episodes)}
    _write(out, answers, judged, document, model=Path(model).name)
    return document


def judge_files(
    answers: Sequence[Answer],
    panel: Panel,
    *,
    suite: Suite | None = None,
    solvable: Suite | None = None,
    out: Path | None = None,
    model: str = "answers",
    tell: Tell = lambda share: None,
) -> dict[str, Any]:
    """Judge anyone's answers; the document of `judge --json`.

    `suite`: its queries without an answer are missing, and answers to others are not judged; both are counted
    (`missing`, `outside_suite`). `problems`: judges that answered nothing. With `out`, our answers, ToolEval's result
    files and the votes are written there too. Raises UsageError or DataError, and StoppedError for Ctrl-C.
    """
    from sweeper.evaluate.read_answers import to_line

    asked = None if suite is None else _keys(suite)
    inside = [answer for answer in answers if asked is None or answer.key in asked]
    outside = [answer for answer in answers if asked is not None and answer.key not in asked]
    if suite is not None and not inside:
        raise UsageError(
            "--suite",
            asked=f"queries of {', '.join(suite.subsets)}",
            found=f"no answer to any of them; the answers are to {_named(answers)}",
            do="the suite that was asked; a converted file is named by its subset",
        )
    missing = (asked or set()) - {answer.key for answer in inside}
    known = None if solvable is None else _keys(solvable)
    document, judged = _judged(inside, panel, missing=missing, solvable=known, tell=tell)
    document |= {"outside_suite": {"answers": len(outside), "first": [list(a.key) for a in outside[:NAMED]]}}
    if out is not None:
        lines = "".join(to_line(answer) + "\n" for answer in inside)
        write_bytes(out / "answers.jsonl", lines.encode())
        _write(out, inside, judged, document, model=model)
    return document


def _keys(suite: Suite) -> set[tuple[str, str]]:
    return {(subset, query.id) for subset, queries in suite.subsets.items() for query in queries}


def _named(answers: Sequence[Answer]) -> str:
    """`query 12 of G1_tool, query 13 of G1_tool, …`."""
    first = ", ".join(f"query {answer.query_id} of {answer.subset}" for answer in answers[:NAMED])
    return first + (", …" if len(answers) > NAMED else "")


def compare_files(
    a: Sequence[Answer], b: Sequence[Answer], panel: Panel, tell: Tell = lambda share: None
) -> dict[str, Any]:
    """Win rate of A over B on the queries that both answer; the document of `compare --json`.

    Raises UsageError, and StoppedError for Ctrl-C.
    """
    from sweeper.evaluate.compare import Comparison, compare

    theirs = {answer.key: answer for answer in b}
    pairs = [(answer, theirs[answer.key]) for answer in a if answer.key in theirs]
    if not pairs:
        raise UsageError("compare", found="no query that both sides answer", do="answers to the same suite")
    if len(set(panel.names)) > 1:
        raise UsageError("compare", asked=", ".join(panel.names), found="several judges", do="one --judge")
    part = _Part(tell, 3)  # the votes on A, those on B, and preferences
    (judge,) = panel.judges([answer for pair in pairs for answer in pair], part)
    try:
        votes_a = judge_answers(judge, [pair[0] for pair in pairs])
        part.next()
        votes_b = judge_answers(judge, [pair[1] for pair in pairs])
        part.next()
        found = compare(pairs, votes_a, votes_b, judge)
    except KeyboardInterrupt:
        raise _stopped(_kept([judge]), "judgements") from None
    problems = _problems([judge], {judge.name: [*votes_a, *votes_b]})
    if problems:  # what was decided without the judge is no win rate
        found = [Comparison(None, "unscored", comparison.reason) for comparison in found]
    document = outcomes_of(found, [answer for answer, _ in pairs])
    left_out = {"a": len(a) - len(pairs), "b": len(b) - len(pairs)}
    document |= {"judge": judge.name, "queries": len(pairs), "answered_by_one_side_only": left_out}
    return document | {"judging_usage": _usage([judge]), "problems": problems}


def write_label_sheet(answers: Sequence[Answer], path: Path, n: int) -> dict[str, Any]:
    """What people are to label, blinded and in random order, and beside it the key, which they should not see.

    At most all answers; `asked` says how many were asked for. Raises UsageError where one of the files exists: it may
    hold labels.
    """
    from sweeper.evaluate.judges.human import label_sheet

    beside = path.with_suffix(".key.json")
    for file in (path, beside):
        if file.exists():
            raise UsageError(
                f"--label-sheet {path}",
                found=f"{file} exists, and may hold labels or their key",
                do="another name, or move that file away",
            )
    rows, key = label_sheet(answers, min(n, len(answers)), random.Random(0))  # noqa: S311 - an order, no secret
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_bytes(path, text.getvalue().encode())
    write_json(beside, key)
    return {"sheet": str(path), "key": str(beside), "items": len(rows) - 1, "asked": n}


def suite_at(data: DataSpec) -> Suite:
    """The suite at a data spec's path, or of its world. Raises DataError."""
    return open_suite(data)


def _judged(
    answers: Sequence[Answer],
    panel: Panel,
    *,
    missing: Iterable[tuple[str, str]] = (),
    solvable: set[tuple[str, str]] | None = None,
    silence: str = "",
    tell: Tell = lambda share: None,
) -> tuple[dict[str, Any], Judged]:
    """The document, and the votes by judge. `silence`: why the answers say nothing of their agent; nobody is asked."""
    part = _Part(tell, len(set(panel.names)))
    judges = panel.judges(answers, part)
    judged: dict[str, list[list[Vote]]] = {}
    try:
        for judge in judges:
            unscored = [Vote(judge.name, 0, None, silence)]
            judged[judge.name] = [unscored for _ in answers] if silence else judge_answers(judge, answers)
            part.next()
    except KeyboardInterrupt:
        raise _stopped(_kept(judges), "judgements") from None
    document = judge_document(answers, judged, missing=missing, solvable=solvable)
    problems = [silence] if silence else _problems(judges, judged)
    return document | {"judging_usage": _usage(judges), "problems": problems}, judged


class _Part:
    """Tells the shares of one part of the work after the other as shares of the whole."""

    def __init__(self, tell: Tell, parts: int) -> None:
        self.tell, self.parts, self.done = tell, parts, 0

    def __call__(self, share: float) -> None:
        self.tell((self.done + share) / self.parts)

    def next(self) -> None:
        """This part is done."""
        self.done += 1
        self.tell(self.done / self.parts)


def _problems(judges: Sequence[Judge], judged: Judged) -> list[str]:
    """What to say of each judge that answered nothing."""
    found = []
    for judge in judges:
        if why := getattr(judge, "silence", ""):
            unscored = sum(all(vote.status is None for vote in cast) for cast in judged[judge.name])
            found.append(f"judge {judge.name} answered nothing, {unscored:,} answers are unscored: {why}")
    return found


def _usage(judges: Sequence[Judge]) -> dict[str, Any]:
    return {judge.name: vars(usage) for judge in judges if (usage := getattr(judge, "usage", None)) is not None}


def _kept(judges: Sequence[Judge]) -> int:
    return sum(getattr(judge, "kept", 0) for judge in judges)


def _stopped(kept: int, what: str) -> StoppedError:
    return StoppedError(f"stopped; the same command goes on from {kept:,} kept {what}")


def _label_key(path: Path) -> Any:
    if not path.is_file():
        raise MissingPathError(f"--key {path}", found="no such file", do="the .key.json that --label-sheet wrote")
    try:
        return read_json(path)
    except StoreError as error:  # its advice, to delete the file, would lose the labels
        raise DataError(f"--key {path}", found=error.found, do="the .key.json that --label-sheet wrote") from error


def _write(out: Path, answers: Sequence[Answer], judged: Judged, document: dict[str, Any], *, model: str) -> None:
    """Answers in ToolBench's own forms, ToolEval's result files of the headline judge, and the document."""
    from sweeper.evaluate.toolbench_answers import pass_rate_results, to_converted, to_raw

    votes = next(iter(judged.values()))
    for subset in dict.fromkeys(answer.subset for answer in answers):
        chosen = [k for k, answer in enumerate(answers) if answer.subset == subset]
        mine = [answers[k] for k in chosen]
        converted = {answer.query_id: to_converted(answer) for answer in mine}
        write_bytes(out / "converted" / model / f"{subset}.json", json.dumps(converted, indent=1).encode())
        for answer in mine:
            if not any(call.cut for call in answer.calls):
                raw = json.dumps(to_raw(answer), indent=1).encode()
                write_bytes(out / "raw" / model / subset / f"{answer.query_id}_CoT@1.json", raw)
        results, table = pass_rate_results(mine, [votes[k] for k in chosen], model=model)
        folder = out / "pass_rate_results" / model
        write_bytes(folder / f"{subset}_{model}.json", json.dumps(results, indent=4, ensure_ascii=False).encode())
        write_bytes(folder / f"{subset}_{model}.csv", table.encode())
    rows = [
        {
            "subset": a.subset,
            "query_id": a.query_id,
            "judge": v.judge,
            "vote": v.vote,
            "status": v.status,
            "task": v.task,
            "task_fault": v.task_fault,
            "reason": v.reason,
            "rules": dict(v.rules),
        }
        for name in judged
        for a, cast in zip(answers, judged[name], strict=True)
        for v in cast
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_bytes(out / "votes.jsonl", lines.encode("utf-8", "replace"))
    write_json(out / "judged.json", document)


def _same_as_before(path: Path, asked: dict[str, Any]) -> None:
    """A folder holds one evaluation: another model's episodes must not be taken for this one's."""
    if path.exists() and (found := read_json(path)) != asked:
        raise UsageError(
            f"--out {path.parent}",
            asked=f"{asked}",
            found=f"the evaluation of {found}",
            do="another --out, or delete that folder",
        )
    write_json(path, asked)


def model_path(name: str, store: Store) -> str:
    """A model by directory, by its name in `configs/models/`, by a trial's fingerprint in the store, or by hub id."""
    from sweeper.errors import ConfigError
    from sweeper.spec import load_model

    if Path(name).is_dir():
        return name
    # A hub id is one or two words; everything else with a slash is a path.
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or name.endswith("/"):
        why = "it is a file" if Path(name).exists() else "the path does not exist"
        raise MissingPathError(f"model {name}", found=why, do="the folder of a checkpoint, as save_pretrained writes")
    if re.fullmatch(r"[0-9a-f]{16}", name):
        store.pull(store.trial(name), only=["model/*"])
    if (store.trial(name) / "model").is_dir():
        return str(store.trial(name) / "model")
    try:
        found = load_model(name)
    except ConfigError:
        if "/" in name and not name.startswith((".", "/")):
            return name
        raise
    if found.source is None:
        raise UsageError(
            f"model {name}", found="it is built from a config and has no weights", do="a trial's fingerprint"
        )
    return found.source
