"""Answers in ToolBench's forms: raw, as its inference writes them, and converted, as ToolEval reads them.

Nothing in an answer is executed: of Python's syntax only literals are read, and of those only what is bounded.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from sweeper.data.schema_checks import SchemaMismatchError, require_field, require_items
from sweeper.errors import DataError
from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges.base import Vote

MAX_MESSAGE_CHARACTERS = 1_000_000
"""A longer message is refused: no agent wrote it."""

MAX_LITERAL_CHARACTERS = 100_000
"""Python's own parser sees no longer text; ours, which reads only flat dicts of texts, takes the usual ones."""

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
_KEY_PREFIXES = ("{'name': ", ", 'arguments': ", ", 'response': ")
_QUOTED_TEXT_PATTERNS = {
    quote: re.compile(rf"{quote}((?:[^{quote}\\]++|\\.)*+)({quote}?)", re.DOTALL) for quote in "'\""
}
_HEX = "[0-9a-fA-F]"
_ESCAPE_PATTERN = re.compile(
    rf"\\(?:x({_HEX}{{2}})|u({_HEX}{{4}})|U({_HEX}{{8}})|(x{_HEX}?|u{_HEX}{{0,3}}|U{_HEX}{{0,7}})\Z|(.))", re.DOTALL
)
_SIMPLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def parse_converted_answer(query_id: str, subset: str, document: Any) -> Answer:
    """An answer in ToolEval's converted form. Raises WrongShapeError.

    Of a tree with several branches the path to the final answer is followed, the first one where none leads there; the
    other branches are left out. A tool node cut by ToolBench's scripts is read as far as it goes, and marked `cut`.
    """
    query, functions = require_field(document, "query", str, ""), _read_functions(document, "available_tools", "")
    answer = require_field(document, "answer", dict, "")
    final = _check_message_length(convert_to_text(answer.get("final_answer")), "answer.final_answer")

    def leads_there(node: dict[str, Any]) -> bool:
        if not final or node.get("role") != "tool":
            return False
        call = _parse_tool_node(node)
        return call.name == FINISH and (final.startswith(call.arguments) or final in call.arguments)

    steps: list[str | ToolCall] = []
    for node in _find_answer_path(require_items(answer, "answer_details", dict, "answer"), "next", leads_there):
        role = require_field(node, "role", str, "a node of answer_details")
        if role == "tool":
            steps.append(_parse_tool_node(node))
        elif role == "assistant":
            steps.append(_check_message_length(convert_to_text(node.get("message")), "an assistant's message"))
        elif role not in ("system", "user"):
            raise SchemaMismatchError(f"a node of answer_details has role {role!r}")
    return Answer(
        query_id,
        subset,
        _check_message_length(query, "query"),
        functions,
        tuple(steps),
        final,
        convert_to_text(answer.get("method")),
        convert_to_text(document.get("ended")) or infer_end_reason(final, steps),
    )


def make_converted_document(answer: Answer, *, message_characters: int | None = None) -> dict[str, Any]:
    """ToolEval's converted form. ToolBench's scripts keep 100 characters of each message, StableToolBench's all.

    How it ended stands beside, under `ended`, where the final answer does not tell.
    """
    nodes = [("system", ""), ("user", answer.query)]
    nodes += [("tool", make_tool_message(s)) if isinstance(s, ToolCall) else ("assistant", s) for s in answer.steps]
    below: list[dict[str, Any]] = []
    for role, message in reversed(nodes):
        below = [{"role": role, "message": message[:message_characters], "next": below}]
    document = {
        "query": answer.query,
        "available_tools": list(answer.functions),
        "answer": {
            "method": answer.method,
            "total_steps": len(nodes),
            "final_answer": answer.final_answer,
            "answer_details": below,
        },
    }
    told = infer_end_reason(answer.final_answer, answer.steps) == answer.ended
    return document if told else document | {"ended": answer.ended}


def parse_raw_answer(query_id: str, subset: str, document: Any) -> Answer:
    """A raw answer of ToolBench's inference, read as ToolEval's conversion reads it. Raises WrongShapeError.

    A valid one is its last message list. Of an invalid one it is the chain of the last try, and of an invalid search
    the tree's first path, where ToolEval takes a random one.
    """
    made = require_field(document, "answer_generation", dict, "")
    where = "answer_generation"
    final = _check_message_length(convert_to_text(made.get("final_answer")), f"{where}.final_answer")
    given = document.get("forward_args")
    asked: dict[str, Any] = given if isinstance(given, dict) else {}
    nodes: list[dict[str, Any]] = []
    if made.get("valid_data"):
        lists = require_items(made, "train_messages", list, where)
        if not lists:
            raise SchemaMismatchError(f"{where} is valid and its train_messages are empty")
        steps = _parse_messages(lists[-1], f"{where}.train_messages[{len(lists) - 1}]")
    else:
        if "trys" in document:
            nodes = require_items(
                (require_items(document, "trys", dict, "") or [{"chain": []}])[-1], "chain", dict, "trys[-1]"
            )
        else:
            tree = require_field(require_field(document, "tree", dict, ""), "tree", dict, "tree")
            nodes = _find_answer_path([tree], "children", lambda node: False)[1:]
        steps = _parse_chain_nodes(nodes)
    ended = infer_end_reason(final, steps)
    limit = asked.get("single_chain_max_step")
    if ended == "unknown" and isinstance(limit, int) and nodes and len(nodes) >= limit:
        ended = "steps"
    return Answer(
        query_id,
        subset,
        _check_message_length(require_field(made, "query", str, where), f"{where}.query"),
        _read_functions(made, "function", where),
        steps,
        final,
        asked["method"] if isinstance(asked.get("method"), str) else "CoT@1" if "trys" in document else "DFS",
        convert_to_text(asked.get("ended")) or ended,
    )


def make_raw_document(answer: Answer) -> dict[str, Any]:
    """ToolBench's raw CoT@1 form, for a file `<query_id>_CoT@1.json`.

    `method` and `ended` are our own, in `forward_args`. Raises DataError for an answer with cut calls, since this form
    cannot say that they are.
    """
    if any(call.cut for call in answer.calls):
        raise DataError(
            f"answer {answer.subset}/{answer.query_id}",
            requested="ToolBench's raw form",
            found="calls of which the source kept only the beginning",
            hint="write the converted form",
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


def make_tool_message(call: ToolCall) -> str:
    """A tool node's message: a Python dict as text, left open where the source cut it."""
    whole = str({"name": call.name, "arguments": call.arguments, "response": call.response})
    if not call.cut:
        return whole
    kept = {"name": call.name}
    if call.arguments or call.response:
        kept["arguments"] = call.arguments
    if call.response:
        kept["response"] = call.response
    return str(kept)[: -len("'}")]


def parse_tool_message(text: str) -> ToolCall:
    """The call that a tool node's message holds, as far as it goes. Raises WrongShapeError where no name is there."""
    found: list[str] = []
    at, usual = 0, True
    for lead in _KEY_PREFIXES:
        if not text.startswith(lead, at):
            usual = at > 0 and lead.startswith(text[at : at + len(lead)])
            break
        at += len(lead)
        if at == len(text):
            break
        value = _QUOTED_TEXT_PATTERNS[text[at]].match(text, at) if text[at] in _QUOTED_TEXT_PATTERNS else None
        if value is None:
            usual = False
            break
        found.append(_ESCAPE_PATTERN.sub(_decode_escape, value[1]))
        at = value.end()
        if not value[2]:
            break
    if len(found) == len(_KEY_PREFIXES) and text[at:] == "}":
        return ToolCall(found[0], found[1], found[2])
    whole = None if usual else _parse_dict_literal(text)
    if whole is not None:
        return _make_tool_call(whole)
    if not found:
        raise SchemaMismatchError(f"a tool node's message is no call: {text[:60]!r}")
    if not usual and len(found) == 1:
        found.append(text[at:])
    name, arguments, response = [*found, "", ""][:3]
    return ToolCall(name, arguments, response, cut=True)


def parse_finish(arguments: str) -> tuple[str, str]:
    """(return type, text of the final answer) of a `Finish`, '' for what is not there.

    Raw newlines in it are forgiven. Of text that is not JSON as much is taken as can be recognised.
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
    """How an answer ended, as far as its final answer and its last call tell."""
    last = next((step for step in reversed(steps) if isinstance(step, ToolCall)), None)
    kind = parse_finish(final_answer)[0]
    if kind == GIVE_ANSWER:
        return "answered"
    if kind == GIVE_UP or (not final_answer and last and last.name == FINISH and GIVE_UP in last.arguments):
        return "gave-up"
    return "unknown"


def format_tooleval_steps(answer: Answer) -> tuple[str, str]:
    """(all calls, last call) as ToolEval shows them to its judge: `Step 1: …`, and `Final step: …`."""
    messages = [make_tool_message(call) for call in answer.calls]
    steps = "\n".join(f"Step {k}: {message}" for k, message in enumerate(messages, start=1))
    return steps, f"Final step: {messages[-1]}" if messages else ""


def make_pass_rate_results(
    answers: Sequence[Answer], votes: Sequence[Sequence[Vote]], *, model: str
) -> tuple[dict[str, Any], str]:
    """What ToolEval writes for one model on one subset: (JSON document, tab-separated text).

    An unscored vote is left out, since ToolEval has no word for it. Raises DataError for a query id that comes twice.
    """
    document: dict[str, Any] = {}
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t")
    writer.writerow(_PASS_RATE_COLUMNS)
    for answer, given in zip(answers, votes, strict=True):
        if answer.query_id in document:
            raise DataError(
                f"pass-rate results of {model}",
                found=f"query {answer.query_id} twice ({answer.subset})",
                hint="write one file a subset",
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


def parse_json_leniently(text: str) -> Any:
    """The value of JSON text in which raw newlines are forgiven; None where it is none."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def convert_to_text(value: Any) -> str:
    """Texts as they are, nothing as '', anything else as JSON. Raises WrongShapeError."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SchemaMismatchError(f"a {type(value).__name__} where text was expected") from error


def _check_message_length(text: str, where: str) -> str:
    if len(text) > MAX_MESSAGE_CHARACTERS:
        raise SchemaMismatchError(f"{where} has {len(text):,} characters, over {MAX_MESSAGE_CHARACTERS:,}")
    return text


def _read_functions(value: Any, key: str, where: str) -> tuple[dict[str, Any], ...]:
    found = require_items(value, key, dict, where)
    for k, function in enumerate(found):
        require_field(function, "name", str, f"{key}[{k}]")
    return tuple(found)


def _find_answer_path(
    roots: Sequence[dict[str, Any]], children_key: str, is_target: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """The nodes down to the first leaf that `ends`, else to the first leaf. No recursion: a tree can be deep."""
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


def _parse_tool_node(node: dict[str, Any]) -> ToolCall:
    message = node.get("message")
    if isinstance(message, dict):
        return _make_tool_call(message)
    if not isinstance(message, str):
        raise SchemaMismatchError(f"a tool node's message is {type(message).__name__}, not text")
    return parse_tool_message(_check_message_length(message, "a tool node's message"))


def _make_tool_call(message: dict[str, Any]) -> ToolCall:
    name = require_field(message, "name", str, "a tool node's message")
    arguments, response = (
        _check_message_length(convert_to_text(message.get(key)), f"a call's {key}") for key in ("arguments", "response")
    )
    return ToolCall(name, arguments, response)


def _parse_dict_literal(text: str) -> dict[str, Any] | None:
    """A dict literal in an unusual spelling; None where it is none, or more than may be read."""
    if len(text) > MAX_LITERAL_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("name"), str) else None


def _decode_escape(match: re.Match[str]) -> str:
    """What one escape of a Python text stands for; '' for one that was cut."""
    code = match[1] or match[2] or match[3]
    if code:
        number = int(code, 16)
        return chr(number) if number < 0xD800 or 0xDFFF < number <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
    if match[4]:
        return ""
    return _SIMPLE_ESCAPES.get(match[5], match[0])


def _parse_messages(messages: list[Any], where: str) -> tuple[str | ToolCall, ...]:
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
            follows = k + 1 < len(messages) and roles[k + 1] in ("function", "tool")
            steps.append(_parse_function_call(call, messages[k + 1].get("content") if follows else None, place))
        elif message.get("tool_calls") is not None:
            seen = {m.get("tool_call_id"): m.get("content") for m in messages[k + 1 :] if m["role"] == "tool"}
            for call in require_items(message, "tool_calls", dict, place):
                steps.append(
                    _parse_function_call(
                        require_field(call, "function", dict, place), seen.get(str(call.get("id"))), place
                    )
                )
        else:
            steps.append(_check_message_length(convert_to_text(message.get("content")), place))
    return tuple(steps)


def _parse_function_call(call: dict[str, Any], response: Any, where: str) -> ToolCall:
    """A call as ToolEval's conversion makes it: what `Finish` was answered is dropped."""
    found = _make_tool_call(
        {"name": require_field(call, "name", str, where), "arguments": call.get("arguments"), "response": response}
    )
    return ToolCall(found.name, found.arguments, "") if found.name == FINISH else found


def _parse_chain_nodes(nodes: Sequence[dict[str, Any]]) -> tuple[str | ToolCall, ...]:
    steps: list[str | ToolCall] = []
    for k, node in enumerate(nodes):
        kind, text = (require_field(node, key, str, "a node of the chain") for key in ("node_type", "description"))
        if kind == "Thought":
            steps.append(_check_message_length(text, "a thought"))
        elif kind == "Action":
            given = nodes[k + 1] if k + 1 < len(nodes) and nodes[k + 1].get("node_type") == "Action Input" else {}
            message = {"name": text, "arguments": given.get("description"), "response": given.get("observation")}
            steps.append(_make_tool_call(message))
        elif kind != "Action Input":
            raise SchemaMismatchError(f"a node of the chain has node_type {kind!r}")
    return tuple(steps)


def _make_chain(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
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
                "observation_code": {GIVE_ANSWER: 3, GIVE_UP: 4}.get(kind, 0),  # as ToolBench numbers them
                "io_state": {},
            }
        )
    unchanged = {"is_terminal": False, "pruned": False, "finished": False}
    return [
        unchanged | {"depth": depth, **part} | {"Elo": 1000.0, "child_count": int(depth < len(parts)), "expand_num": 0}
        for depth, part in enumerate(parts, start=1)
    ]


def _make_train_messages(answer: Answer) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": ""},
        {"role": "user", "content": f"\n{answer.query}\nBegin!\n"},
    ]
    for k, step in enumerate(answer.steps, start=1):
        if isinstance(step, str):
            messages.append({"role": "assistant", "content": step})
            continue
        called = {"name": step.name, "arguments": step.arguments}
        messages.append({"role": "assistant", "content": None, "function_call": called})
        # ToolEval's conversion skips the message after a call, whatever it is: one has to be there.
        if step.name != FINISH or k < len(answer.steps):
            messages.append({"role": "function", "name": step.name, "content": step.response})
    return messages
