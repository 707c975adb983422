"""A judge without a model: five rules that an answer to a tool query can break, each reported on its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from sweeper.evaluate.answers import FINISH, Answer, ToolCall
from sweeper.evaluate.judges.vote import Status, Vote
from sweeper.evaluate.toolbench_answers import GIVE_ANSWER, GIVE_UP, load_json, read_finish

Finding = tuple[bool | None, str]
"""(failed, why): None where what the source kept does not tell."""

_PASSED: Finding = (False, "")
_FINISH_FUNCTION = {
    "name": FINISH,
    "parameters": {
        "properties": {
            "return_type": {"type": "string", "enum": [GIVE_ANSWER, GIVE_UP]},
            "final_answer": {"type": "string"},
        },
        "required": ["return_type"],
    },
}
"""Where an answer does not list it."""


class RulesJudge:
    """Solved where no rule fails, unsolved where one does, unsure where none does and some cannot be decided."""

    name = "rules"
    identity = "rules-1"
    """Raised whenever a rule changes."""

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """One vote an answer. The same answer always gets the same vote."""
        return [[self._vote(answer)] for answer in answers]

    def _vote(self, answer: Answer) -> Vote:
        found = {rule: decide(answer) for rule, decide in RULES.items()}
        failed = [f"{rule}: {why}" for rule, (fails, why) in found.items() if fails]
        undecided = [f"{rule} cannot be decided: {why}" for rule, (fails, why) in found.items() if fails is None]
        status: Status = "unsolved" if failed else "unsure" if undecided else "solved"
        reason = "; ".join(failed + undecided) or "no rule fails"
        holds = {rule: None if fails is None else not fails for rule, (fails, _) in found.items()}
        return Vote(self.name, 0, status, reason, rules=holds)


def finished(answer: Answer) -> Finding:
    """It ended by `Finish` with `give_answer` and a text. What the text is worth is not asked here."""
    kind, text = read_finish(answer.final_answer)
    if not answer.final_answer.strip():
        return True, f"no final answer ({answer.ended})"
    if not answer.calls or answer.calls[-1].name != FINISH:
        return True, "the last call is not Finish"
    if kind != GIVE_ANSWER:
        return True, f"return_type is {kind or 'missing'}"
    return _PASSED if text.strip() else (True, "the final answer is empty")


def no_hallucinated_api(answer: Answer) -> Finding:
    """Every called name is offered."""
    offered = {FINISH, *(str(function["name"]) for function in answer.functions)}
    undecided = _PASSED
    for call in answer.calls:
        if call.name in offered:
            continue
        name_may_go_on = call.cut and not call.arguments and not call.response
        if not name_may_go_on or not any(name.startswith(call.name) for name in offered):
            return True, f"{_shown(call)} is not offered"
        undecided = None, f"{_shown(call)} is cut in its name"
    return undecided


def well_formed_calls(answer: Answer) -> Finding:
    """Arguments are a JSON object with the required parameters, and the types of what is given are acceptable.

    The tools' servers get all arguments as texts, so a number may stand as text and the other way round. Parameters
    that the schema does not know are let pass, and so are all of an API that is not offered.
    """
    called = {call.name for call in answer.calls}
    checks = {str(f["name"]): _check(f) for f in (_FINISH_FUNCTION, *answer.functions) if f["name"] in called}
    undecided = _PASSED
    last = len(answer.calls) - 1
    for k, call in enumerate(answer.calls):
        arguments = call.arguments
        if call.cut and k == last and call.name == FINISH and answer.final_answer.startswith(arguments):
            arguments = answer.final_answer  # the same text, and whole
        value = load_json(arguments)
        if isinstance(value, dict):
            wrong = checks[call.name](value) if call.name in checks else ""
            if wrong:
                return True, f"{_shown(call)}: {wrong}"
        elif call.cut and not call.response and arguments == call.arguments and arguments.lstrip()[:1] in ("", "{"):
            undecided = None, f"{_shown(call)} is cut in its arguments"
        else:
            return True, f"{_shown(call)}: the arguments are not a JSON object"
    return undecided


def successful_relevant_call(answer: Answer) -> Finding:
    """At least one call to an offered API, other than `Finish`, came back without an error and with a response."""
    offered = {str(function["name"]) for function in answer.functions} - {FINISH}
    calls = [call for call in answer.calls if call.name in offered]
    if not calls:
        return True, "no call to an offered API"
    found = [_succeeded(call) for call in calls]
    if True in found:
        return _PASSED
    if None in found:
        return None, f"the response of {_shown(calls[found.index(None)])} is cut"
    return True, f"{_shown(calls[-1])} came back with an error or empty, like all calls"


def grounded(answer: Answer) -> Finding:
    """At least half of what is specific in the final answer, and not from the query, stands in some response.

    Specific are numbers (without regard to thousands separators and padding zeros), words with digits in them, and
    words with a capital that do not open a sentence or line. An answer without any passes.
    """
    text = read_finish(answer.final_answer)[1]
    wanted = _specific(text) - _words(answer.query)
    calls = [call for call in answer.calls if call.name != FINISH]
    seen: set[str] = set()
    for call in calls:
        seen |= _words(call.response)
    missing = sorted(wanted - seen)
    if 2 * len(missing) <= len(wanted):
        return _PASSED
    why = f"{len(missing)} of {len(wanted)} specifics are in no response: {', '.join(missing[:5])}"
    return (None, why + " (responses are cut)") if any(call.cut for call in calls) else (True, why)


RULES: Mapping[str, Callable[[Answer], Finding]] = {
    "finished": finished,
    "no_hallucinated_api": no_hallucinated_api,
    "well_formed_calls": well_formed_calls,
    "successful_relevant_call": successful_relevant_call,
    "grounded": grounded,
}


def _shown(call: ToolCall) -> str:
    arguments = " ".join(call.arguments.split())
    return f"{call.name[:80]}({arguments[:60]}{'…' if len(arguments) > 60 else ''})"


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numeral(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", value) is not None


# ToolBench writes `integer` for every number.
_ACCEPTABLE: dict[str, Callable[[Any, object], bool]] = {
    "integer": lambda _, value: _number(value) or _numeral(value),
    "number": lambda _, value: _number(value) or _numeral(value),
    "string": lambda _, value: isinstance(value, str | bool) or _number(value),
    "boolean": lambda _, value: isinstance(value, bool) or str(value).strip().lower() in ("true", "false", "0", "1"),
}
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(_ACCEPTABLE),
)
_TYPES = {*_ACCEPTABLE, "array", "object", "null"}


def _check(function: Mapping[str, Any]) -> Callable[[dict[str, Any]], str]:
    """What is wrong with arguments of an offered API, '' for nothing.

    Of its schema only types, enumerations and `required` are used: schemas are untrusted, and the rest of the language
    can fetch what it refers to and run patterns.
    """
    given = function.get("parameters")
    parameters = given if isinstance(given, dict) else {}
    properties = parameters.get("properties")
    known = {name: _kept(schema) for name, schema in properties.items()} if isinstance(properties, dict) else {}
    listed = parameters.get("required")
    required = [name for name in listed if isinstance(name, str) and name] if isinstance(listed, list) else []
    validator = _Validator({"type": "object", "properties": known, "required": required})

    def wrong(arguments: dict[str, Any]) -> str:
        try:
            error = next(validator.iter_errors(arguments), None)
        except RecursionError:
            return "nested too deeply"
        if error is None:
            return ""
        where = ".".join(map(str, error.absolute_path))
        return f"{where + ': ' if where else ''}{error.message[:100]}"

    return wrong


def _kept(schema: object) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}
    kept: dict[str, Any] = {}
    if isinstance(schema.get("type"), str) and schema["type"] in _TYPES:
        kept["type"] = schema["type"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        kept["enum"] = schema["enum"]
    return kept


_OBSERVATION = re.compile(
    r'\s*\{\s*"error"\s*:\s*"((?:[^"\\]++|\\.)*+)("?)\s*(?:,\s*"response"\s*:\s*(.*))?', re.DOTALL
)
_NOTHING = ("", "null", "None", "{}", "[]", "''", '""')


def _succeeded(call: ToolCall) -> bool | None:
    """Whether a response holds no error and something else; None where it was cut before that could be seen.

    A response that is not JSON is read as far as it goes: ToolBench cuts observations.
    """
    value = load_json(call.response)
    if isinstance(value, dict):
        response = value.get("response")
        if isinstance(response, str):
            return value.get("error") in ("", None) and response.strip() not in _NOTHING
        return value.get("error") in ("", None) and response not in (None, [], {})
    match = _OBSERVATION.match(call.response)
    if match is None:
        unread = re.fullmatch(r'\s*(\{\s*("(e(r(r(o(r("\s*:?\s*)?)?)?)?)?)?)?)?', call.response)
        return None if call.cut and unread else False
    error, closed, rest = match.groups()
    if error or (not closed and not call.cut):
        return False
    content = re.sub(r"\\.", "", rest or "").strip().strip('"')
    if re.search(r"\w", content) and not any(nothing.startswith(content) for nothing in ("null", "None")):
        return True
    return None if call.cut else False


_WORD = re.compile(r"\d+(?:[.,]\d+)*(?![^\W_])|[^\W_]+")
_OPENS = re.compile(r"(?:^|[.!?:\n*•#|>\-–]|\d[.)])[\s\"'“‘(\[*_]*\Z")


def _words(text: str) -> set[str]:
    """All words and numbers of a text, as they are compared, and the parts of those that mix letters and digits.

    Escapes of texts within texts end words.
    """
    found = set()
    for match in _WORD.finditer(re.sub(r"(?<!\\)\\++[nrt]", " ", _decoded(text))):
        found.add(_plain(match[0]))
        if match[0].isalnum() and not match[0].isalpha():
            found |= {_plain(part) for part in re.findall(r"\d+|[^\W\d_]+", match[0])}
    return found


def _specific(text: str) -> set[str]:
    found = set()
    text = re.sub(r"\\[nrt]", "\n", text)  # left where the final answer was no JSON
    for match in _WORD.finditer(text):
        word = match[0]
        opens = _OPENS.search(text[max(0, match.start() - 8) : match.start()])
        if any(c.isdigit() for c in word) or (len(word) > 1 and word[0].isupper() and not opens):
            found.add(_plain(word))
    return found


def _plain(word: str) -> str:
    if word[0].isdigit() and re.fullmatch(r"[\d.,]+", word):
        whole, point, part = re.sub(r",(?=\d{3}(?!\d))", "", word).partition(".")
        part = part.rstrip("0")
        return (whole.lstrip("0") or "0") + (point + part if part else "")
    return word.casefold()


def _decoded(text: str) -> str:
    """With the escapes `\\uXXXX` of JSON texts, and of texts within them, as characters."""
    return re.sub(r"(?<!\\)\\++u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
