"""Files of judged answers: ToolBench's own formats, ToolEval's result files, the votes and the document."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from sweeper.evaluation.answers import Answer
from sweeper.evaluation.judge_panel import JudgeReport
from sweeper.evaluation.judges import Vote
from sweeper.evaluation.toolbench_format import make_converted_document, make_pass_rate_results, make_raw_document
from sweeper.storage import dump_json, join_within, write_bytes


def write_judging_files(out: Path, answers: Sequence[Answer], report: JudgeReport, *, model: str) -> None:
    """Write everything about judged answers into a folder.

    Args:
        out: gets `converted/`, `raw/`, `pass_rate_results/`, `votes.jsonl` and `judged.json`.
        answers: what was judged. Answers with cut calls have no raw form and are left out of `raw/`.
        report: the votes and the rates; ToolEval's result files are of the headline judge.
        model: names the files, as in ToolBench.
    """
    headline_votes = next(iter(report.votes.values()))
    for subset in dict.fromkeys(answer.subset for answer in answers):
        chosen = [k for k, answer in enumerate(answers) if answer.subset == subset]
        _write_subset_files(out, subset, [answers[k] for k in chosen], [headline_votes[k] for k in chosen], model)
    rows = [
        {
            "subset": answer.subset,
            "query_id": answer.query_id,
            "judge": vote.judge,
            "vote": vote.index,
            "status": vote.status,
            "task": vote.task_status,
            "task_fault": vote.task_fault,
            "reason": vote.reason,
            "rules": dict(vote.rules),
        }
        for votes in report.votes.values()
        for answer, cast in zip(answers, votes, strict=True)
        for vote in cast
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_bytes(out / "votes.jsonl", lines.encode("utf-8", "replace"))
    write_bytes(out / "judged.json", dump_json(report.to_document(), indent=2).encode())


def _write_subset_files(
    out: Path, subset: str, answers: Sequence[Answer], votes: Sequence[Sequence[Vote]], model: str
) -> None:
    converted = {answer.query_id: make_converted_document(answer) for answer in answers}
    write_bytes(join_within(out, "converted", model, f"{subset}.json"), json.dumps(converted, indent=1).encode())
    for answer in answers:
        if not any(call.cut for call in answer.calls):
            raw = json.dumps(make_raw_document(answer), indent=1).encode()
            write_bytes(join_within(out, "raw", model, subset, f"{answer.query_id}_CoT@1.json"), raw)
    results, table = make_pass_rate_results(answers, votes, model=model)
    pages = {"json": json.dumps(results, indent=4, ensure_ascii=False), "csv": table}
    for suffix, text in pages.items():
        write_bytes(join_within(out, "pass_rate_results", model, f"{subset}_{model}.{suffix}"), text.encode())
