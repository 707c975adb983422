"""What `evaluate`, `judge` and `compare` do: answers in, judges over them, documents and files out."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sweeper.data import Suite, open_suite
from sweeper.errors import UsageError
from sweeper.evaluate.answers import Answer
from sweeper.evaluate.judges import Judge, Vote, judge_answers, llm_judge
from sweeper.models import weights_fingerprint
from sweeper.report.judged import Judged, judge_document, outcomes_of
from sweeper.spec import DataSpec, EvaluationSpec, LlmSpec, ModelSpec
from sweeper.store import Store, read_json, write_bytes, write_json

JudgeName = Literal["oracle", "rules", "llm", "human"]
JUDGES: tuple[JudgeName, ...] = get_args(JudgeName)
Tell = Callable[[float], None]


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

    def judges(self, answers: Sequence[Answer]) -> list[Judge]:
        """The judges, ready. Raises UsageError for what is missing, DataError for labels that do not fit."""
        return [self._judge(name, answers) for name in dict.fromkeys(self.names)]

    def _judge(self, name: JudgeName, answers: Sequence[Answer]) -> Judge:
        if name == "oracle":
            from sweeper.evaluate.judges.oracle import OracleJudge

            return OracleJudge(self.data)
        if name == "llm":
            if self.llm is None:
                raise UsageError("--judge llm", found="no endpoint", do="--judge-endpoint URL and --judge-model NAME")
            return llm_judge(self.llm, self.cache)
        if name == "human":
            from sweeper.evaluate.judges.human import HumanJudge

            if self.labels is None:
                raise UsageError(
                    "--judge human", found="no labels", do="--labels CSV; --label-sheet writes one to fill"
                )
            key = read_json(self.key) if self.key else None
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
    seed: int = 0,
    tell: Tell = lambda share: None,
) -> dict[str, Any]:
    """Run a model over a suite as an agent and judge it; the document of `judge`, files under `out`, or else under
    `<storage>/evaluations/`, in a folder of what is asked.

    `endpoint`: ask an OpenAI-compatible server for `model` instead of loading it. Goes on from what `out` holds.
    Raises ModelError, DataError or UsageError.
    """
    from sweeper.evaluate.run import incoherent, local_agent, run_agent, suite_fingerprint

    asked = {"model": model, "endpoint": endpoint, "protocol": protocol if endpoint else None, "seed": seed}
    asked["suite"] = suite_fingerprint(evaluation, data)
    if endpoint is None:  # a path says nothing of what lies there now
        asked["weights"] = weights_fingerprint(ModelSpec(name=model, source=model))
    if out is None:
        name = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
        out = storage / "evaluations" / f"{Path(model).name}-{name}"
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
        )
        agent = ServedAgent(settings, data, protocol=protocol, seed=seed)
    _same_as_before(out / "asked.json", asked)
    episodes, answers = run_agent(out, agent, evaluation, data, method=Path(model).name, tell=tell)
    document, judged = _judged(answers, panel, missing=(), solvable=None)
    metrics = {
        "finished": sum(e.ended == "answered" for e in episodes) / len(episodes),
        "overgenerated": sum(e.overgenerated > 0 for e in episodes) / len(episodes),
        "incoherent": sum(incoherent(e) for e in episodes) / len(episodes),
        "hallucinated": sum(e.hallucinated > 0 for e in episodes) / len(episodes),
        "tokens": sum(e.tokens for e in episodes),
        "ended": {
            str(kind): sum(e.ended == kind for e in episodes) for kind in sorted({str(e.ended) for e in episodes})
        },
    }
    usage = getattr(getattr(agent, "endpoint", None), "usage", None)
    document |= {"model": model, "directory": str(out), "episodes": metrics, "usage": vars(usage) if usage else None}
    document |= {"environment": read_json(out / "environment.json")}
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
) -> dict[str, Any]:
    """Judge anyone's answers; the document of `judge --json`. `suite`: queries of it without an answer are missing.

    With `out`, ToolEval's result files are written there too. Raises UsageError or DataError.
    """
    asked = set() if suite is None else {(s, q.id) for s, queries in suite.subsets.items() for q in queries}
    missing = asked - {answer.key for answer in answers}
    known = None if solvable is None else {(s, q.id) for s, queries in solvable.subsets.items() for q in queries}
    document, judged = _judged(answers, panel, missing=missing, solvable=known)
    if out is not None:
        _write(out, answers, judged, document, model=model)
    return document


def compare_files(a: Sequence[Answer], b: Sequence[Answer], panel: Panel) -> dict[str, Any]:
    """Win rate of A over B on the queries that both answer; the document of `compare --json`. Raises UsageError."""
    from sweeper.evaluate.compare import compare

    theirs = {answer.key: answer for answer in b}
    pairs = [(answer, theirs[answer.key]) for answer in a if answer.key in theirs]
    if not pairs:
        raise UsageError("compare", found="no query that both sides answer", do="answers to the same suite")
    (judge, *more) = panel.judges([answer for pair in pairs for answer in pair])
    if more:
        raise UsageError("compare", asked=", ".join(panel.names), found="several judges", do="one --judge")
    votes_a, votes_b = (judge_answers(judge, [pair[side] for pair in pairs]) for side in (0, 1))
    document = outcomes_of(compare(pairs, votes_a, votes_b, judge), [answer for answer, _ in pairs])
    left_out = {"a": len(a) - len(pairs), "b": len(b) - len(pairs)}
    return document | {"judge": judge.name, "queries": len(pairs), "answered_by_one_side_only": left_out}


def write_label_sheet(answers: Sequence[Answer], path: Path, n: int) -> dict[str, Any]:
    """What people are to label, blinded and in random order, and beside it the key, which they should not see."""
    from sweeper.evaluate.judges.human import label_sheet

    rows, key = label_sheet(answers, n, random.Random(0))  # noqa: S311 - an order, no secret
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    write_bytes(path, text.getvalue().encode())
    beside = path.with_suffix(".key.json")
    write_json(beside, key)
    return {"sheet": str(path), "key": str(beside), "items": len(rows) - 1}


def suite_at(data: DataSpec) -> Suite:
    """The suite at a data spec's path, or of its world. Raises DataError."""
    return open_suite(data)


def _judged(
    answers: Sequence[Answer], panel: Panel, *, missing: Any, solvable: set[tuple[str, str]] | None
) -> tuple[dict[str, Any], Judged]:
    judged: dict[str, list[list[Vote]]] = {}
    spent = {}
    for judge in panel.judges(answers):
        judged[judge.name] = judge_answers(judge, answers)
        if (usage := getattr(judge, "usage", None)) is not None:
            spent[judge.name] = vars(usage)
    document = judge_document(answers, judged, missing=missing, solvable=solvable)
    return document | {"judging_usage": spent}, judged


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
        }
        | {"reason": v.reason, "rules": dict(v.rules)}
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
