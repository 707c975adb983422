"""Answers in ToolBench's formats: raw, as its inference writes them, and converted, as ToolEval reads them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import cast

from sweeper.data.schema_checks import SchemaMismatchError, require_field, require_items
from sweeper.errors import DataError
from sweeper.evaluation.answers import FINISH, Answer, FunctionSchema, ToolCall
from sweeper.evaluation.judges.base import Vote
from sweeper.evaluation.tool_messages import (
    check_text_length,
    convert_to_text,
    make_tool_call,
    make_tool_message,
    parse_tool_message,
)

Node = dict[str, object]
"""A node of an answer's tree or chain, or a message: a JSON object whose content is not checked yet."""

GIVE_ANSWER, GIVE_UP = "give_answer", "give_up_and_restart"

_PASS_RATE_COLUMNS = (
    "query",
    "available_tools",
    "model_intermediate_steps",
    "model_final_step",
    "model",
    "query_id",
    "is_solved",
)


def parse_converted_answer(query_id: str, subset: str, document: object) -> Answer:
    """Parse an answer in ToolEval's converted format.

    Of a tree with several branches only one is read: the path to the final answer, or the first one where no path leads
    there. A tool node cut by ToolBench's scripts is read as far as it goes, and marked `cut`.

    Raises:
        SchemaMismatchError: a document of another structure.
    """
    query = check_text_length(require_field(document, "query", str, ""), "query")
    functions = _read_functions(document, "available_tools", "")
    answer = require_field(document, "answer", dict, "")
    final = check_text_length(convert_to_text(answer.get("final_answer")), "answer.final_answer")

    def is_final(node: Node) -> bool:
        if not final or node.get("role") != "tool":
            return False
        call = _parse_tool_node(node)
        return call.name == FINISH and (final.startswith(call.arguments) or final in call.arguments)

    steps: list[str | ToolCall] = []
    for node in _find_answer_path(require_items(answer, "answer_details", dict, "answer"), "next", is_final):
        role = require_field(node, "role", str, "a node of answer_details")
        if role == "tool":
            steps.append(_parse_tool_node(node))
        elif role == "assistant":
            steps.append(check_text_length(convert_to_text(node.get("message")), "an assistant's message"))
        elif role not in ("system", "user"):
            raise SchemaMismatchError(f"a node of answer_details has role {role!r}")
    return Answer(
        query_id,
        subset,
        query,
        functions,
        tuple(steps),
        final,
        convert_to_text(answer.get("method")),
        convert_to_text(require_object(document).get("ended")) or infer_end_reason(final, steps),
    )


def make_converted_document(answer: Answer, *, message_characters: int | None = None) -> dict[str, object]:
    """Make ToolEval's converted format.

    Args:
        answer: what to convert.
        message_characters: characters kept of each message. ToolBench's scripts keep 100, StableToolBench's all (None).

    Returns:
        The JSON document. Our own key `ended` is added where the final answer does not imply it.
    """
    nodes = [("system", ""), ("user", answer.query)]
    nodes += [("tool", make_tool_message(s)) if isinstance(s, ToolCall) else ("assistant", s) for s in answer.steps]
    below: list[Node] = []
    for role, message in reversed(nodes):
        below = [{"role": role, "message": message[:message_characters], "next": below}]
    document: dict[str, object] = {
        "query": answer.query,
        "available_tools": list(answer.functions),
        "answer": {
            "method": answer.method,
            "total_steps": len(nodes),
            "final_answer": answer.final_answer,
            "answer_details": below,
        },
    }
    is_implied = infer_end_reason(answer.final_answer, answer.steps) == answer.ended
    return document if is_implied else document | {"ended": answer.ended}


def parse_raw_answer(query_id: str, subset: str, document: object) -> Answer:
    """Parse a raw answer of ToolBench's inference as ToolEval's conversion does.

    The steps of a valid answer are its last message list. Those of an invalid one are the chain of the last try; of an
    invalid search, the tree's first path, where ToolEval takes a random one.

    Raises:
        SchemaMismatchError: a document of another structure.
    """
    where = "answer_generation"
    generation = require_field(document, where, dict, "")
    document = require_object(document)
    final = check_text_length(convert_to_text(generation.get("final_answer")), f"{where}.final_answer")
    arguments = document.get("forward_args")
    options: Node = arguments if isinstance(arguments, dict) else {}
    nodes: list[Node] = []
    if generation.get("valid_data"):
        lists = require_items(generation, "train_messages", list, where)
        if not lists:
            raise SchemaMismatchError(f"{where} is valid and its train_messages are empty")
        steps = _parse_messages(lists[-1], f"{where}.train_messages[{len(lists) - 1}]")
    else:
        nodes = _read_last_chain(document)
        steps = _parse_chain_nodes(nodes)
    ended = infer_end_reason(final, steps)
    limit = options.get("single_chain_max_step")
    if ended == "unknown" and isinstance(limit, int) and nodes and len(nodes) >= limit:
        ended = "steps"
    method = options.get("method")
    return Answer(
        query_id,
        subset,
        check_text_length(require_field(generation, "query", str, where), f"{where}.query"),
        _read_functions(generation, "function", where),
        steps,
        final,
        method if isinstance(method, str) else "CoT@1" if "trys" in document else "DFS",
        convert_to_text(options.get("ended")) or ended,
    )


def _read_last_chain(document: Node) -> list[Node]:
    """Return the nodes of the last try, or of the tree's first path."""
    if "trys" in document:
        tries = require_items(document, "trys", dict, "") or [{"chain": []}]
        return require_items(tries[-1], "chain", dict, "trys[-1]")
    tree = require_field(require_field(document, "tree", dict, ""), "tree", dict, "tree")
    return _find_answer_path([tree], "children", lambda node: False)[1:]


def make_raw_document(answer: Answer) -> dict[str, object]:
    """Make ToolBench's raw CoT@1 format, for a file `<query_id>_CoT@1.json`.

    `forward_args` has our own keys `method` and `ended`.

    Raises:
        DataError: an answer with cut calls, which this format cannot mark.
    """
    if any(call.cut for call in answer.calls):
        raise DataError(
            f"answer {answer.subset}/{answer.query_id}",
            requested="ToolBench's raw format",
            found="calls of which the source kept only the beginning",
            hint="write the converted format",
        )
    won = parse_finish(answer.final_answer)[0] == GIVE_ANSWER
    valid = bool(answer.final_answer)
    return {
        "win": won,
        "try_count": 1,
        "trys": [{"chain": _make_chain(answer), "win": won}],
        "compare_candidates": [],
        "forward_args": {"pass_at": 1, "answer": 1, "method": answer.method, "ended": answer.ended},
        "answer_generation": {
            "valid_data": valid,
            "final_answer": answer.final_answer,
            "function": list(answer.functions),
            "query_count": len(answer.calls),
            "total_tokens": 0,
            "train_messages": [_make_train_messages(answer)] if valid else [],
            "chain": [],
            "query": answer.query,
        },
    }


def parse_finish(arguments: str) -> tuple[str, str]:
    """Parse the arguments of `Finish`, leniently.

    Returns:
        The return type and the text of the final answer, '' for what is missing. Raw line breaks are accepted, and of
        text that is not JSON whatever can be recognized is returned.
    """
    value = parse_json_leniently(arguments)
    if isinstance(value, dict):
        kind = value.get("return_type")
        return kind if isinstance(kind, str) else "", convert_to_text(value.get("final_answer"))
    if GIVE_UP in arguments:
        return GIVE_UP, ""
    if GIVE_ANSWER in arguments:
        return GIVE_ANSWER, arguments.partition('"final_answer"')[2].lstrip(" \n\t:").strip('"} \n')
    return "", arguments.strip()


def infer_end_reason(final_answer: str, steps: Sequence[str | ToolCall]) -> str:
    """Infer how an answer ended from its final answer and its last call."""
    last = next((step for step in reversed(steps) if isinstance(step, ToolCall)), None)
    kind = parse_finish(final_answer)[0]
    if kind == GIVE_ANSWER:
        return "answered"
    if kind == GIVE_UP or (not final_answer and last and last.name == FINISH and GIVE_UP in last.arguments):
        return "gave-up"
    return "unknown"


def format_tooleval_steps(answer: Answer) -> tuple[str, str]:
    """Format (all calls, last call) as ToolEval shows them to its judge: `Step 1: …`, and `Final step: …`."""
    messages = [make_tool_message(call) for call in answer.calls]
    steps = "\n".join(f"Step {k}: {message}" for k, message in enumerate(messages, start=1))
    return steps, f"Final step: {messages[-1]}" if messages else ""


def make_pass_rate_results(
    answers: Sequence[Answer], votes: Sequence[Sequence[Vote]], *, model: str
) -> tuple[dict[str, object], str]:
    """Make ToolEval's result files of one model on one subset: (JSON document, tab-separated text).

    Unscored votes are left out, since ToolEval has no value for them.

    Raises:
        DataError: two answers to one query.
    """
    document: dict[str, object] = {}
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t")
    writer.writerow(_PASS_RATE_COLUMNS)
    for answer, given in zip(answers, votes, strict=True):
        if answer.query_id in document:
            raise DataError(
                f"pass-rate results of {model}",
                found=f"query {answer.query_id} twice ({answer.subset})",
                hint="write one file per subset",
            )
        names = [str(function["name"]) for function in answer.functions]
        steps, final = format_tooleval_steps(answer)
        solved = {vote.index: f"AnswerStatus.{vote.status.capitalize()}" for vote in given if vote.status is not None}
        document[answer.query_id] = {
            "query": answer.query,
            "tool_names": names,
            "answer_steps": steps,
            "final_step": final,
            "is_solved": {str(vote): status for vote, status in solved.items()},
        }
        writer.writerow([answer.query, names, steps, final, model, answer.query_id, solved])
    return document, file.getvalue()


def parse_json_leniently(text: str) -> object:
    """Parse JSON that may contain raw line breaks; None where it is invalid."""
    try:
        value: object = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return value


def require_object(value: object) -> Node:
    """Return `value` if it is a JSON object. Raises SchemaMismatchError."""
    if not isinstance(value, dict):
        raise SchemaMismatchError(f"the document is {type(value).__name__}, not an object")
    return value


def _read_functions(value: object, key: str, where: str) -> tuple[FunctionSchema, ...]:
    functions = require_items(value, key, dict, where)
    for k, function in enumerate(functions):
        require_field(function, "name", str, f"{key}[{k}]")
    return cast("tuple[FunctionSchema, ...]", tuple(functions))


def _find_answer_path(roots: Sequence[Node], children_key: str, is_target: Callable[[Node], bool]) -> list[Node]:
    """Return the nodes down to the first leaf that is a target, or else to the first leaf.

    Without recursion, since a tree can be deep.
    """
    nodes = [(node, -1) for node in roots]
    waiting = list(range(len(nodes)))[::-1]
    chosen = None
    while waiting:
        at = waiting.pop()
        node = nodes[at][0]
        children = require_items(node, children_key, dict, "a node") if node.get(children_key) is not None else []
        if children:
            waiting += range(len(nodes), len(nodes) + len(children))[::-1]
            nodes += [(child, at) for child in children]
        elif is_target(node):
            chosen = at
            break
        elif chosen is None:
            chosen = at
    path = []
    at = -1 if chosen is None else chosen
    while at >= 0:
        node, at = nodes[at]
        path.append(node)
    return path[::-1]


def _parse_tool_node(node: Node) -> ToolCall:
    message = node.get("message")
    if isinstance(message, dict):
        return make_tool_call(message)
    if not isinstance(message, str):
        raise SchemaMismatchError(f"a tool node's message is {type(message).__name__}, not text")
    return parse_tool_message(check_text_length(message, "a tool node's message"))


def _parse_messages(messages: list[Node], where: str) -> tuple[str | ToolCall, ...]:
    steps: list[str | ToolCall] = []
    roles = [require_field(message, "role", str, f"{where}[{k}]") for k, message in enumerate(messages)]
    for k, (role, message) in enumerate(zip(roles, messages, strict=True)):
        if role not in ("system", "user", "assistant", "function", "tool"):
            raise SchemaMismatchError(f"{where}[{k}].role is {role!r}")
        if role != "assistant" or k < 2:
            continue
        place = f"{where}[{k}]"
        if message.get("function_call") is not None:
            call = require_field(message, "function_call", dict, place)
            has_response = k + 1 < len(messages) and roles[k + 1] in ("function", "tool")
            steps.append(_parse_function_call(call, messages[k + 1].get("content") if has_response else None, place))
        elif message.get("tool_calls") is not None:
            responses = {m.get("tool_call_id"): m.get("content") for m in messages[k + 1 :] if m["role"] == "tool"}
            for call in require_items(message, "tool_calls", dict, place):
                function = require_field(call, "function", dict, place)
                steps.append(_parse_function_call(function, responses.get(str(call.get("id"))), place))
        else:
            steps.append(check_text_length(convert_to_text(message.get("content")), place))
    return tuple(steps)


def _parse_function_call(call: Node, response: object, where: str) -> ToolCall:
    """Parse a call as ToolEval's conversion does: the response to `Finish` is dropped."""
    message = {
        "name": require_field(call, "name", str, where),
        "arguments": call.get("arguments"),
        "response": response,
    }
    parsed = make_tool_call(message)
    return ToolCall(parsed.name, parsed.arguments, "") if parsed.name == FINISH else parsed


def _parse_chain_nodes(nodes: Sequence[Node]) -> tuple[str | ToolCall, ...]:
    steps: list[str | ToolCall] = []
    for k, node in enumerate(nodes):
        kind, text = (require_field(node, key, str, "a node of the chain") for key in ("node_type", "description"))
        if kind == "Thought":
            steps.append(check_text_length(text, "a thought"))
        elif kind == "Action":
            following = nodes[k + 1] if k + 1 < len(nodes) else {}
            node_input = following if following.get("node_type") == "Action Input" else {}
            message = {
                "name": text,
                "arguments": node_input.get("description"),
                "response": node_input.get("observation"),
            }
            steps.append(make_tool_call(message))
        elif kind != "Action Input":
            raise SchemaMismatchError(f"a node of the chain has node_type {kind!r}")
    return tuple(steps)


def _make_chain(answer: Answer) -> list[Node]:
    parts: list[Node] = []
    for step in answer.steps:
        if isinstance(step, str):
            parts.append({"node_type": "Thought", "description": step})
            continue
        kind = parse_finish(step.arguments)[0] if step.name == FINISH else ""
        parts.append({"node_type": "Action", "description": step.name})
        parts.append(
            {
                "node_type": "Action Input",
                "description": step.arguments,
                "observation": step.response,
                "observation_code": {GIVE_ANSWER: 3, GIVE_UP: 4}.get(kind, 0),  # ToolBench's codes
                "io_state": {},
            }
        )
    unchanged = {"is_terminal": False, "pruned": False, "finished": False}
    return [
        unchanged | {"depth": depth, **part} | {"Elo": 1000.0, "child_count": int(depth < len(parts)), "expand_num": 0}
        for depth, part in enumerate(parts, start=1)
    ]


def _make_train_messages(answer: Answer) -> list[Node]:
    messages: list[Node] = [
        {"role": "system", "content": ""},
        {"role": "user", "content": f"\n{answer.query}\nBegin!\n"},
    ]
    for k, step in enumerate(answer.steps, start=1):
        if isinstance(step, str):
            messages.append({"role": "assistant", "content": step})
            continue
        call = {"name": step.name, "arguments": step.arguments}
        messages.append({"role": "assistant", "content": None, "function_call": call})
        # ToolEval's conversion skips the message after each call, so there must be one.
        if step.name != FINISH or k < len(answer.steps):
            messages.append({"role": "function", "name": step.name, "content": step.response})
    return messages
