"""Evaluate a model as a tool-using agent, judge existing answers, and compare two sets of them; without a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.config import EvaluationSpec, LlmSpec, load_data_spec, load_evaluation_spec
from sweeper.errors import UsageError
from sweeper.evaluation import offline
from sweeper.evaluation.answer_files import read_answers
from sweeper.evaluation.judge_panel import ShareCallback, ignore_progress
from sweeper.evaluation.judges import JUDGES
from sweeper.evaluation.offline import AgentEndpoint, JudgePanel, LabelFile, LabelSheet
from sweeper.storage import Store

if TYPE_CHECKING:
    from sweeper.evaluation.judge_panel import JudgeReport
    from sweeper.evaluation.judged_rates import ComparisonReport

__all__ = [
    "AgentEndpoint",
    "EvaluationOptions",
    "JudgeSettings",
    "LabelFile",
    "LlmSpec",
    "compare_answers",
    "evaluate_model",
    "judge_answers",
    "load_evaluation",
    "write_label_sheet",
]


@dataclass(frozen=True)
class JudgeSettings:
    """The judges of a set of answers, and what they need."""

    names: Sequence[str] | str = ("rules",)
    """`oracle`, `rules`, `llm` or `human`; the first leads."""
    llm: LlmSpec | None = None
    """Endpoint and model of the judge `llm`."""
    labels: Path | None = None
    """CSV file of human labels, for the judge `human`."""
    label_key: Path | None = None
    """The key that `write_label_sheet` wrote beside its sheet."""
    world: str = "toolworld"
    """The data whose generated world the judge `oracle` knows."""
    storage: str | Path = "storage"
    """The store, which keeps the replies of the judge `llm`."""

    def __post_init__(self) -> None:
        if isinstance(self.names, str):
            object.__setattr__(self, "names", (self.names,))
        for name in self.names:
            JUDGES.check(name, where="--judge")

    def make_panel(self, world: str | None = None) -> JudgePanel:
        """Make the panel of judges.

        Args:
            world: the data whose world the oracle knows; None: that of the settings.
        """
        cache = Store.from_location(self.storage).root / "judgements"
        data = load_data_spec(world or self.world)
        return JudgePanel(tuple(self.names), offline.JudgeContext(data, self.llm, cache, self.labels, self.label_key))

    def refuse_human(self, action: str) -> None:
        """Raise UsageError if a judge is `human`: `action` reads no labels."""
        if "human" in self.names:
            raise UsageError(
                f"{action} --judge human",
                found=f"{action} reads no labels as a judge",
                hint="use oracle, rules or llm; `judge ANSWERS --labels CSV` gives the pass rates of human labels",
            )


@dataclass(frozen=True)
class EvaluationOptions:
    """How `evaluate_model` runs the agent."""

    endpoint: AgentEndpoint | None = None
    """An OpenAI-compatible server that runs the model; None loads the model here."""
    data: str | None = None
    """The data whose prompt format and world to use; None: the suite's own."""
    seed: int = 0
    """Seed of the sampling."""
    out: Path | None = None
    """Folder of the results, resumed if it exists; None: one in the store."""


def load_evaluation(suite: str, overrides: Sequence[str] = (), environment: str | None = None) -> EvaluationSpec:
    """Load an evaluation.

    Args:
        suite: a name in `configs/evaluation/`, or a folder of ToolBench test queries.
        overrides: `key=value` texts; they override the file's.
        environment: `toolworld`, `replay` or `http`; None: the file's.

    Returns:
        The evaluation.

    Raises:
        ConfigError: an unknown name or an invalid field.

    Example:
        >>> load_evaluation("toolworld", ["max_new_tokens=64"]).max_new_tokens
        64
    """
    fields = {"environment": environment} if environment else {}
    return load_evaluation_spec(suite, list(overrides), **fields)


def evaluate_model(
    model: str,
    evaluation: EvaluationSpec,
    judges: JudgeSettings,
    options: EvaluationOptions | None = None,
    on_progress: ShareCallback = ignore_progress,
) -> JudgeReport:
    """Run a model over a suite as a tool-using agent, judge its answers, and write them in ToolBench's formats.

    Args:
        model: a checkpoint folder, a name in `configs/models/`, a trial's fingerprint in the store, or a hub id; with
            an endpoint, the model's name on that server.
        evaluation: the suite, as `load_evaluation` returns it.
        judges: the judges, except `human`, and the store.
        options: the endpoint, the prompt format, the seed and the folder of the results.
        on_progress: called with the share done, 0 to 1.

    Returns:
        Pass rates by judge, subset and definition, and how episodes ended; `problems` says why there is no rate.

    Raises:
        ModelError: a model that cannot be loaded.
        DataError: queries or recorded responses that cannot be read.
        UsageError: wrong settings, or a folder with another evaluation.
    """
    judges.refuse_human("evaluate")
    options = options or EvaluationOptions()
    data = options.data or ("toolworld" if evaluation.queries is None else "toolbench")
    panel, store = judges.make_panel(data), Store.from_location(judges.storage)
    request = offline.ModelEvaluation(
        model=model if options.endpoint else offline.resolve_model_path(model, store),
        evaluation=evaluation,
        data=load_data_spec(data),
        panel=panel,
        storage=store.root,
        out=options.out,
        endpoint=options.endpoint,
        seed=options.seed,
    )
    return offline.evaluate_model(request, on_progress)


def judge_answers(
    answers: Sequence[str | Path] | str | Path,
    judges: JudgeSettings,
    *,
    suite: str | None = None,
    solvable: str | None = None,
    out: Path | None = None,
    on_progress: ShareCallback = ignore_progress,
) -> JudgeReport:
    """Judge existing answers: pass rates under every definition, failing rules, agreement between judges.

    Args:
        answers: files or folders in ToolEval's converted form, ToolBench's raw form, or sweeper's own.
        judges: the judges.
        suite: the test queries; those without an answer count as missing.
        solvable: the queries that count as solvable; None takes the judges' votes.
        out: folder for votes and ToolEval's result files; None writes nothing.
        on_progress: called with the share done, 0 to 1.

    Returns:
        Pass rates by judge, subset and definition; `problems` says why there is no rate.

    Raises:
        DataError: answers, queries or labels that cannot be read.
        UsageError: a missing setting of a judge, or no answer to the suite's queries.
    """
    from sweeper.data import open_suite

    paths = _list_paths(answers)
    saved_answers = read_answers(paths)
    suites = [open_suite(load_data_spec(name)) if name else None for name in (suite, solvable)]
    return offline.judge_saved_answers(
        saved_answers,
        judges.make_panel(),
        suite=suites[0],
        solvable=suites[1],
        out=out,
        model=paths[0].name.removesuffix(".json"),
        on_progress=on_progress,
    )


def compare_answers(
    answers_a: str | Path,
    answers_b: str | Path,
    judges: JudgeSettings,
    on_progress: ShareCallback = ignore_progress,
    labels: tuple[LabelFile, LabelFile] | None = None,
) -> ComparisonReport:
    """Compute the win rate of answers A over answers B on the queries that both answer.

    Args:
        answers_a: answers of model A, a file or folder.
        answers_b: answers of model B.
        judges: one judge, except `human`. `llm` also decides between two passes or two fails.
        on_progress: called with the share done, 0 to 1.
        labels: labels of a random part of the answers of A, and of B, to correct the difference of the pass rates.

    Returns:
        The win rate with its interval, overall and by subset, and what was compared.

    Raises:
        DataError: answers or labels that cannot be read.
        UsageError: no common query, several judges, or a missing setting of the judge.
    """
    judges.refuse_human("compare")
    panel = judges.make_panel()
    sides = read_answers([Path(answers_a)]), read_answers([Path(answers_b)])
    return offline.compare_saved_answers(*sides, panel, on_progress, labels)


def write_label_sheet(answers: Sequence[str | Path] | str | Path, path: Path, n_items: int = 100) -> LabelSheet:
    """Write a blinded sheet of answers for people to label, and its key beside it.

    Args:
        answers: files or folders, as for `judge_answers`.
        path: the sheet, a new CSV file.
        n_items: answers on the sheet; all of them where there are fewer.

    Returns:
        The two files and the number of items.

    Raises:
        DataError: answers that cannot be read.
        UsageError: one of the files exists, since it may contain labels.
    """
    return offline.write_label_sheet(read_answers(_list_paths(answers)), path, n_items)


def _list_paths(answers: Sequence[str | Path] | str | Path) -> list[Path]:
    return [Path(answers)] if isinstance(answers, str | Path) else [Path(path) for path in answers]
