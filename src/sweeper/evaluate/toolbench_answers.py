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

from sweeper.data.shapes import WrongShapeError, field, items
from sweeper.errors import DataError
from sweeper.evaluate.answers import FINISH, Answer, ToolCall
from sweeper.evaluate.judges.vote import Vote

MESSAGE_CHARACTERS = 1_000_000
"""A longer message is refused: no agent wrote it."""

LITERAL_CHARACTERS = 100_000
"""Python's own parser sees no longer text; ours, which reads only flat dicts of texts, takes the usual ones."""

GIVE_ANSWER, GIVE_UP = "give_answer", "give_up_and_restart"

_COLUMNS = (
    "query",
    "available_tools",
    "model_intermediate_steps",
    "model_final_step",
    "model",
    "query_id",
    "is_solved",
)
_LEADS = ("{'name': ", ", 'arguments': ", ", 'response': ")
_TEXT = {quote: re.compile(rf"{quote}((?:[^{quote}\\]++|\\.)*+)({quote}?)", re.DOTALL) for quote in "'\""}
_HEX = "[0-9a-fA-F]"
_ESCAPE = re.compile(
    rf"\\(?:x({_HEX}{{2}})|u({_HEX}{{4}})|U({_HEX}{{8}})|(x{_HEX}?|u{_HEX}{{0,3}}|U{_HEX}{{0,7}})\Z|(.))", re.DOTALL
)
_ESCAPED = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def from_converted(query_id: str, subset: str, document: Any) -> Answer:
    """An answer in ToolEval's converted form. Raises WrongShapeError.

    Of a tree with several branches the path to the final answer is followed, the first one where none leads there; the
    other branches are left out. A tool node cut by ToolBench's scripts is read as far as it goes, and marked `cut`.
    """
    query, functions = field(document, "query", str, ""), _functions(document, "available_tools", "")
    answer = field(document, "answer", dict, "")
    final = _bounded(as_text(answer.get("final_answer")), "answer.final_answer")

    def leads_there(node: dict[str, Any]) -> bool:
        if not final or node.get("role") != "tool":
            return False
        call = _tool_node(node)
        return call.name == FINISH and (final.startswith(call.arguments) or final in call.arguments)

    steps: list[str | ToolCall] = []
    for node in _path(items(answer, "answer_details", dict, "answer"), "next", leads_there):
        role = field(node, "role", str, "a node of answer_details")
        if role == "tool":
            steps.append(_tool_node(node))
        elif role == "assistant":
            steps.append(_bounded(as_text(node.get("message")), "an assistant's message"))
        elif role not in ("system", "user"):
            raise WrongShapeError(f"a node of answer_details has role {role!r}")
    return Answer(
        query_id,
        subset,
        _bounded(query, "query"),
        functions,
        tuple(steps),
        final,
        as_text(answer.get("method")),
        as_text(document.get("ended")) or ended_of(final, steps),
    )


def to_converted(answer: Answer, *, message_characters: int | None = None) -> dict[str, Any]:
    """ToolEval's converted form. ToolBench's scripts keep 100 characters of each message, StableToolBench's all.

    How it ended stands beside, under `ended`, where the final answer does not tell.
    """
    nodes = [("system", ""), ("user", answer.query)]
    nodes += [("tool", message_of(s)) if isinstance(s, ToolCall) else ("assistant", s) for s in answer.steps]
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
    told = ended_of(answer.final_answer, answer.steps) == answer.ended
    return document if told else document | {"ended": answer.ended}


def from_raw(query_id: str, subset: str, document: Any) -> Answer:
    """A raw answer of ToolBench's inference, read as ToolEval's conversion reads it. Raises WrongShapeError.

    A valid one is its last message list. Of an invalid one it is the chain of the last try, and of an invalid search
    the tree's first path, where ToolEval takes a random one.
    """
    made = field(document, "answer_generation", dict, "")
    where = "answer_generation"
    final = _bounded(as_text(made.get("final_answer")), f"{where}.final_answer")
    given = document.get("forward_args")
    asked: dict[str, Any] = given if isinstance(given, dict) else {}
    nodes: list[dict[str, Any]] = []
    if made.get("valid_data"):
        lists = items(made, "train_messages", list, where)
        if not lists:
            raise WrongShapeError(f"{where} is valid and its train_messages are empty")
        steps = _of_messages(lists[-1], f"{where}.train_messages[{len(lists) - 1}]")
    else:
        if "trys" in document:
            nodes = items((items(document, "trys", dict, "") or [{"chain": []}])[-1], "chain", dict, "trys[-1]")
        else:
            tree = field(field(document, "tree", dict, ""), "tree", dict, "tree")
            nodes = _path([tree], "children", lambda node: False)[1:]
        steps = _of_nodes(nodes)
    ended = ended_of(final, steps)
    limit = asked.get("single_chain_max_step")
    if ended == "unknown" and isinstance(limit, int) and nodes and len(nodes) >= limit:
        ended = "steps"
    return Answer(
        query_id,
        subset,
        _bounded(field(made, "query", str, where), f"{where}.query"),
        _functions(made, "function", where),
        steps,
        final,
        asked["method"] if isinstance(asked.get("method"), str) else "CoT@1" if "trys" in document else "DFS",
        as_text(asked.get("ended")) or ended,
    )


def to_raw(answer: Answer) -> dict[str, Any]:
    """ToolBench's raw CoT@1 form, for a file `<query_id>_CoT@1.json`.

    `method` and `ended` are our own, in `forward_args`. Raises DataError for an answer with cut calls, since this form
    cannot say that they are.
    """
    if any(call.cut for call in answer.calls):
        raise DataError(
            f"answer {answer.subset}/{answer.query_id}",
            asked="ToolBench's raw form",
            found="calls of which the source kept only the beginning",
            do="write the converted form",
        )
    won = read_finish(answer.final_answer)[0] == GIVE_ANSWER
    valid = bool(answer.final_answer)
    return {
        "win": won,
        "try_count": 1,
        "trys": [{"chain": _chain(answer), "win": won}],
        "compare_candidates": [],
        "forward_args": {"pass_at": 1, "answer": 1, "method": answer.method, "ended": answer.ended},
        "answer_generation": {
            "valid_data": valid,
            "final_answer": answer.final_answer,
            "function": list(answer.functions),
            "query_count": len(answer.calls),
            "total_tokens": 0,
            "train_messages": [_messages(answer)] if valid else [],
            "chain": [],
            "query": answer.query,
        },
    }


def message_of(call: ToolCall) -> str:
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


def read_call(text: str) -> ToolCall:
    """The call that a tool node's message holds, as far as it goes. Raises WrongShapeError where no name is there."""
    found: list[str] = []
    at, usual = 0, True
    for lead in _LEADS:
        if not text.startswith(lead, at):
            usual = at > 0 and lead.startswith(text[at : at + len(lead)])
            break
        at += len(lead)
        if at == len(text):
            break
        value = _TEXT[text[at]].match(text, at) if text[at] in _TEXT else None
        if value is None:
            usual = False
            break
        found.append(_ESCAPE.sub(_unescaped, value[1]))
        at = value.end()
        if not value[2]:
            break
    if len(found) == len(_LEADS) and text[at:] == "}":
        return ToolCall(found[0], found[1], found[2])
    whole = None if usual else _literal(text)
    if whole is not None:
        return _of_mapping(whole)
    if not found:
        raise WrongShapeError(f"a tool node's message is no call: {text[:60]!r}")
    if not usual and len(found) == 1:
        found.append(text[at:])
    name, arguments, response = [*found, "", ""][:3]
    return ToolCall(name, arguments, response, cut=True)


def read_finish(arguments: str) -> tuple[str, str]:
    """(return type, text of the final answer) of a `Finish`, '' for what is not there.

    Raw newlines in it are forgiven. Of text that is not JSON as much is taken as can be recognised.
    """
    value = load_json(arguments)
    if isinstance(value, dict):
        kind = value.get("return_type")
        return kind if isinstance(kind, str) else "", as_text(value.get("final_answer"))
    if GIVE_UP in arguments:
        return GIVE_UP, ""
    if GIVE_ANSWER in arguments:
        return GIVE_ANSWER, arguments.partition('"final_answer"')[2].lstrip(" \n\t:").strip('"} \n')
    return "", arguments.strip()


def ended_of(final_answer: str, steps: Sequence[str | ToolCall]) -> str:
    """How an answer ended, as far as its final answer and its last call tell."""
    last = next((step for step in reversed(steps) if isinstance(step, ToolCall)), None)
    kind = read_finish(final_answer)[0]
    if kind == GIVE_ANSWER:
        return "answered"
    if kind == GIVE_UP or (not final_answer and last and last.name == FINISH and GIVE_UP in last.arguments):
        return "gave-up"
    return "unknown"


def steps_of(answer: Answer) -> tuple[str, str]:
    """(all calls, last call) as ToolEval shows them to its judge: `Step 1: …`, and `Final step: …`."""
    messages = [message_of(call) for call in answer.calls]
    steps = "\n".join(f"Step {k}: {message}" for k, message in enumerate(messages, start=1))
    return steps, f"Final step: {messages[-1]}" if messages else ""


def pass_rate_results(
    answers: Sequence[Answer], votes: Sequence[Sequence[Vote]], *, model: str
) -> tuple[dict[str, Any], str]:
    """What ToolEval writes for one model on one subset: (JSON document, tab-separated text).

    An unscored vote is left out, since ToolEval has no word for it. Raises DataError for a query id that comes twice.
    """
    document: dict[str, Any] = {}
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t")
    writer.writerow(_COLUMNS)
    for answer, given in zip(answers, votes, strict=True):
        if answer.query_id in document:
            raise DataError(
                f"pass-rate results of {model}",
                found=f"query {answer.query_id} twice ({answer.subset})",
                do="write one file a subset",
            )
        names = [str(function["name"]) for function in answer.functions]
        steps, final = steps_of(answer)
        solved = {vote.vote: f"AnswerStatus.{vote.status.capitalize()}" for vote in given if vote.status is not None}
        document[answer.query_id] = {
            "query": answer.query,
            "tool_names": names,
            "answer_steps": steps,
            "final_step": final,
            "is_solved": {str(vote): status for vote, status in solved.items()},
        }
        writer.writerow([answer.query, names, steps, final, model, answer.query_id, solved])
    return document, file.getvalue()


def load_json(text: str) -> Any:
    """The value of JSON text in which raw newlines are forgiven; None where it is none."""
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def as_text(value: Any) -> str:
    """Texts as they are, nothing as '', anything else as JSON. Raises WrongShapeError."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise WrongShapeError(f"a {type(value).__name__} where text was expected") from error


def _bounded(text: str, where: str) -> str:
    if len(text) > MESSAGE_CHARACTERS:
        raise WrongShapeError(f"{where} has {len(text):,} characters, over {MESSAGE_CHARACTERS:,}")
    return text


def _functions(value: Any, key: str, where: str) -> tuple[dict[str, Any], ...]:
    found = items(value, key, dict, where)
    for k, function in enumerate(found):
        field(function, "name", str, f"{key}[{k}]")
    return tuple(found)


def _path(roots: Sequence[dict[str, Any]], below: str, ends: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """The nodes down to the first leaf that `ends`, else to the first leaf. No recursion: a tree can be deep."""
    nodes = [(node, -1) for node in roots]
    waiting = list(range(len(nodes)))[::-1]
    chosen = None
    while waiting:
        at = waiting.pop()
        node = nodes[at][0]
        children = items(node, below, dict, "a node") if node.get(below) is not None else []
        if children:
            waiting += range(len(nodes), len(nodes) + len(children))[::-1]
            nodes += [(child, at) for child in children]
        elif ends(node):
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


def _tool_node(node: dict[str, Any]) -> ToolCall:
    message = node.get("message")
    if isinstance(message, dict):
        return _of_mapping(message)
    if not isinstance(message, str):
        raise WrongShapeError(f"a tool node's message is {type(message).__name__}, not text")
    return read_call(_bounded(message, "a tool node's message"))


def _of_mapping(message: dict[str, Any]) -> ToolCall:
    name = field(message, "name", str, "a tool node's message")
    arguments, response = (_bounded(as_text(message.get(key)), f"a call's {key}") for key in ("arguments", "response"))
    return ToolCall(name, arguments, response)


def _literal(text: str) -> dict[str, Any] | None:
    """A dict literal in an unusual spelling; None where it is none, or more than may be read."""
    if len(text) > LITERAL_CHARACTERS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python does not know
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("name"), str) else None


def _unescaped(match: re.Match[str]) -> str:
    """What one escape of a Python text stands for; '' for one that was cut."""
    code = match[1] or match[2] or match[3]
    if code:
        number = int(code, 16)
        return chr(number) if number < 0xD800 or 0xDFFF < number <= 0x10FFFF else "\N{REPLACEMENT CHARACTER}"
    if match[4]:
        return ""
    return _ESCAPED.get(match[5], match[0])


def _of_messages(messages: list[Any], where: str) -> tuple[str | ToolCall, ...]:
    steps: list[str | ToolCall] = []
    roles = [field(message, "role", str, f"{where}[{k}]") for k, message in enumerate(messages)]
    for k, (role, message) in enumerate(zip(roles, messages, strict=True)):
        if role not in ("system", "user", "assistant", "function", "tool"):
            raise WrongShapeError(f"{where}[{k}].role is {role!r}")
        if role != "assistant" or k < 2:
            continue
        place = f"{where}[{k}]"
        if message.get("function_call") is not None:
            call = field(message, "function_call", dict, place)
            follows = k + 1 < len(messages) and roles[k + 1] in ("function", "tool")
            steps.append(_made(call, messages[k + 1].get("content") if follows else None, place))
        elif message.get("tool_calls") is not None:
            seen = {m.get("tool_call_id"): m.get("content") for m in messages[k + 1 :] if m["role"] == "tool"}
            for call in items(message, "tool_calls", dict, place):
                steps.append(_made(field(call, "function", dict, place), seen.get(str(call.get("id"))), place))
        else:
            steps.append(_bounded(as_text(message.get("content")), place))
    return tuple(steps)


def _made(call: dict[str, Any], seen: Any, where: str) -> ToolCall:
    """A call as ToolEval's conversion makes it: what `Finish` was answered is dropped."""
    found = _of_mapping({"name": field(call, "name", str, where), "arguments": call.get("arguments"), "response": seen})
    return ToolCall(found.name, found.arguments, "") if found.name == FINISH else found


def _of_nodes(nodes: Sequence[dict[str, Any]]) -> tuple[str | ToolCall, ...]:
    steps: list[str | ToolCall] = []
    for k, node in enumerate(nodes):
        kind, text = (field(node, key, str, "a node of the chain") for key in ("node_type", "description"))
        if kind == "Thought":
            steps.append(_bounded(text, "a thought"))
        elif kind == "Action":
            given = nodes[k + 1] if k + 1 < len(nodes) and nodes[k + 1].get("node_type") == "Action Input" else {}
            message = {"name": text, "arguments": given.get("description"), "response": given.get("observation")}
            steps.append(_of_mapping(message))
        elif kind != "Action Input":
            raise WrongShapeError(f"a node of the chain has node_type {kind!r}")
    return tuple(steps)


def _chain(answer: Answer) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for step in answer.steps:
        if isinstance(step, str):
            parts.append({"node_type": "Thought", "description": step})
            continue
        kind = read_finish(step.arguments)[0] if step.name == FINISH else ""
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


def _messages(answer: Answer) -> list[dict[str, Any]]:
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
