"""Tasks of an agent: a query, a system message, and the schemas of the offered APIs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sweeper.config import DataSpec, EvaluationSpec
from sweeper.data import ApiList, Suite, add_format_instruction, open_suite, read_suite
from sweeper.data.api_names import standardize_api_name
from sweeper.data.test_queries import OfferedApi, SuiteQuery
from sweeper.evaluation.answers import FINISH, FunctionSchema, QueryKey

MAX_DESCRIPTION_CHARACTERS = 256
"""ToolBench truncates descriptions of APIs and parameters to this length."""
_JSON_SCHEMA_TYPES = {"NUMBER": "integer", "STRING": "string", "BOOLEAN": "boolean"}

TOOLBENCH_SYSTEM_PROMPT = "\n".join(
    (
        "You are AutoGPT, you can use many tools(functions) to do the following task.",
        "First I will give you the task description, and your task start.",
        "At each step, you need to give your thought to analyze the status now and what to do next, with a function "
        "call to actually excute your step.",
        "After the call, you will get the call result, and you are now in a new state.",
        "Then you will analyze your status now, then decide what to do next...",
        "After many (Thought-call) pairs, you finally perform the task, then you can give your finial answer.",
        "Remember: ",
        "1.the state change is irreversible, you can't go back to one of the former state, if you want to restart the "
        'task, say "I give up and restart".',
        "2.All the thought is short, at most in 5 sentence.",
        "3.You can do more then one trys, so if your plan is to continusly try some conditions, you can do one of the "
        "conditions per try.",
        "Let's Begin!",
        "Task description: You should use functions to help handle the real time user querys. Remember:",
        '1.ALWAYS call "Finish" function at the end of the task. And the final answer should contain enough '
        "information to show to the user,If you can't handle the task, or you find that function calls always fail(the "
        "function is not valid now), use function Finish->give_up_and_restart.",
        "2.Do not use origin tool names, use only subfunctions' names.",
        "You have access of the following tools:\n",
    )
)
"""ToolBench's system message, verbatim from its training data: models were trained on exactly this text."""

FINISH_SCHEMA: FunctionSchema = {
    "name": FINISH,
    "description": "If you believe that you have obtained a result that can answer the task, please call this function "
    "to provide the final answer. Alternatively, if you recognize that you are unable to proceed with the task in the "
    "current state, call this function to restart. Remember: you must ALWAYS call this function at the end of your "
    "attempt, and the only part that will be shown to the user is the final answer, so it should contain sufficient "
    "information.",
    "parameters": {
        "type": "object",
        "properties": {
            "return_type": {"type": "string", "enum": ["give_answer", "give_up_and_restart"]},
            "final_answer": {
                "type": "string",
                "description": "The final answer you want to give the user. You should have this field if "
                '"return_type"=="give_answer"',
            },
        },
        "required": ["return_type"],
    },
}


@dataclass(frozen=True)
class Task:
    """One query of an agent."""

    id: str
    subset: str
    query: str
    system: str
    functions: tuple[FunctionSchema, ...]
    apis: Mapping[str, OfferedApi]
    """Offered function name -> its API. `Finish` has none."""

    @property
    def key(self) -> QueryKey:
        """(subset, id)."""
        return self.subset, self.id

    @property
    def api_list(self) -> ApiList:
        """The offered functions as `sweeper.data` formats them."""
        return ApiList(cast("tuple[dict[str, object], ...]", self.functions))


def load_evaluation_suite(evaluation: EvaluationSpec, data: DataSpec) -> Suite:
    """Load the queries of an evaluation.

    Args:
        evaluation: names the queries.
        data: holds the settings of a generated world.

    Returns:
        The queries by subset, and ids that are listed and missing.

    Raises:
        DataError: queries that cannot be read.
        UsageError: a wrong setting.

    Example:
        >>> from sweeper.config import load_data_spec, load_evaluation_spec
        >>> evaluation, data = load_evaluation_spec("toolworld"), load_data_spec("toolworld")
        >>> sum(load_evaluation_suite(evaluation, data).query_counts.values())
        180
    """
    if evaluation.queries is not None:
        return read_suite(Path(evaluation.queries).expanduser())
    return open_suite(data.model_copy(update={"source": "toolworld"}), evaluation.split)


def load_tasks(evaluation: EvaluationSpec, data: DataSpec) -> list[Task]:
    """Make the tasks of an evaluation, in the order of its suite. Raises as `load_evaluation_suite`.

    Args:
        evaluation: names the queries.
        data: holds the settings of a generated world.

    Returns:
        One task per query.

    Example:
        >>> from sweeper.config import load_data_spec, load_evaluation_spec
        >>> evaluation, data = load_evaluation_spec("toolworld"), load_data_spec("toolworld")
        >>> tasks = load_tasks(evaluation, data)
        >>> len(tasks), tasks[0].subset
        (180, 'G1_instruction')
    """
    suite = load_evaluation_suite(evaluation, data)
    if evaluation.queries is None:
        return _make_toolworld_tasks(suite, data)
    return [make_toolbench_task(subset, query) for subset, queries in suite.subsets.items() for query in queries]


def _make_toolworld_tasks(suite: Suite, data: DataSpec) -> list[Task]:
    from sweeper import toolworld

    world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))
    tasks = []
    for subset, queries in suite.subsets.items():
        for query in queries:
            own = world.get_query(query.id)
            apis = {api.function: api for api in query.apis}
            functions = cast("tuple[FunctionSchema, ...]", own.functions)
            tasks.append(Task(query.id, subset, own.query, own.system, functions, apis))
    return tasks


def make_toolbench_task(subset: str, query: SuiteQuery) -> Task:
    """Make the task of a query as in ToolBench's single chain.

    Its query files lack the descriptions of the tools, which are given as "None".
    """
    tools = dict.fromkeys(api.tool for api in query.apis)
    listed = "".join(f"{k}.{tool}: None\n" for k, tool in enumerate(tools, 1))
    functions = (*(make_function_schema(api) for api in query.apis), FINISH_SCHEMA)
    apis = {api.function: api for api in query.apis}
    return Task(query.id, subset, query.text, add_format_instruction(TOOLBENCH_SYSTEM_PROMPT + listed), functions, apis)


def make_function_schema(api: OfferedApi) -> FunctionSchema:
    """Make ToolBench's function schema of an `api_list` item: standardized names, truncated texts, mapped types.

    As in ToolBench, optional parameters are listed only where there are required ones.
    """
    document = api.document
    description = f'This is the subfunction for tool "{api.tool}", you can use this tool.'
    own_description = str(document.get("api_description") or "").strip()
    if own_description:
        text = own_description.replace(str(document["api_name"]), api.function)[:MAX_DESCRIPTION_CHARACTERS]
        description += f'The description of this function is: "{text}"'
    properties: dict[str, object] = {}
    names: dict[str, list[str]] = {"required": [], "optional": []}
    for kind, listed in names.items() if document.get("required_parameters") else ():
        for parameter in document.get(f"{kind}_parameters") or []:
            name = standardize_api_name(str(parameter.get("name", "")))
            properties[name] = _make_property_schema(parameter)
            listed.append(name)
    parameters = {"type": "object", "properties": properties, **names}
    return {"name": api.function, "description": description, "parameters": parameters}


def _make_property_schema(parameter: Mapping[str, object]) -> dict[str, object]:
    schema: dict[str, object] = {
        "type": _JSON_SCHEMA_TYPES.get(str(parameter.get("type")), "string"),
        "description": str(parameter.get("description") or "")[:MAX_DESCRIPTION_CHARACTERS],
    }
    example = parameter.get("default", "")
    return schema | {"example_value": example} if str(example) else schema
