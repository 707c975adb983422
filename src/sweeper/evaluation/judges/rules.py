"""A judge without a model: five rules that an answer to a tool query can break, each reported on its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonschema  # type: ignore[import-untyped]

from sweeper.evaluation.answers import FINISH, Answer, ToolCall
from sweeper.evaluation.judges.base import AnswerStatus, Vote
from sweeper.evaluation.toolbench_format import GIVE_ANSWER, GIVE_UP, parse_finish, parse_json_leniently

Finding = tuple[bool | None, str]
"""(failed, why): None where what the source kept does not tell."""

_NO_VIOLATION: Finding = (False, "")
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
        return [[self._cast_vote(answer)] for answer in answers]

    def _cast_vote(self, answer: Answer) -> Vote:
        found = {rule: decide(answer) for rule, decide in RULES.items()}
        failed = [f"{rule}: {why}" for rule, (fails, why) in found.items() if fails]
        undecided = [f"{rule} cannot be decided: {why}" for rule, (fails, why) in found.items() if fails is None]
        status: AnswerStatus = "unsolved" if failed else "unsure" if undecided else "solved"
        reason = "; ".join(failed + undecided) or "no rule fails"
        holds = {rule: None if fails is None else not fails for rule, (fails, _) in found.items()}
        return Vote(self.name, 0, status, reason, rules=holds)


def check_finished(answer: Answer) -> Finding:
    """It ended by `Finish` with `give_answer` and a text. What the text is worth is not asked here."""
    kind, text = parse_finish(answer.final_answer)
    if not answer.final_answer.strip():
        return True, f"no final answer ({answer.ended})"
    if not answer.calls or answer.calls[-1].name != FINISH:
        return True, "the last call is not Finish"
    if kind != GIVE_ANSWER:
        return True, f"return_type is {kind or 'missing'}"
    return _NO_VIOLATION if text.strip() else (True, "the final answer is empty")


def check_no_hallucinated_api(answer: Answer) -> Finding:
    """Every called name is offered."""
    offered = {FINISH, *(str(function["name"]) for function in answer.functions)}
    undecided = _NO_VIOLATION
    for call in answer.calls:
        if call.name in offered:
            continue
        name_may_go_on = call.cut and not call.arguments and not call.response
        if not name_may_go_on or not any(name.startswith(call.name) for name in offered):
            return True, f"{_format_call(call)} is not offered"
        undecided = None, f"{_format_call(call)} is cut in its name"
    return undecided


def check_well_formed_calls(answer: Answer) -> Finding:
    """Arguments are a JSON object with the required parameters, and the types of what is given are acceptable.

    The tools' servers get all arguments as texts, so a number may stand as text and the other way round. Parameters
    that the schema does not know are let pass, and so are all of an API that is not offered.
    """
    called = {call.name for call in answer.calls}
    checks = {
        str(f["name"]): _make_argument_check(f) for f in (_FINISH_FUNCTION, *answer.functions) if f["name"] in called
    }
    undecided = _NO_VIOLATION
    last = len(answer.calls) - 1
    for k, call in enumerate(answer.calls):
        arguments = call.arguments
        if call.cut and k == last and call.name == FINISH and answer.final_answer.startswith(arguments):
            arguments = answer.final_answer  # the same text, and whole
        value = parse_json_leniently(arguments)
        if isinstance(value, dict):
            wrong = checks[call.name](value) if call.name in checks else ""
            if wrong:
                return True, f"{_format_call(call)}: {wrong}"
        elif call.cut and not call.response and arguments == call.arguments and arguments.lstrip()[:1] in ("", "{"):
            undecided = None, f"{_format_call(call)} is cut in its arguments"
        else:
            return True, f"{_format_call(call)}: the arguments are not a JSON object"
    return undecided


def check_successful_relevant_call(answer: Answer) -> Finding:
    """At least one call to an offered API, other than `Finish`, came back without an error and with a response."""
    offered = {str(function["name"]) for function in answer.functions} - {FINISH}
    calls = [call for call in answer.calls if call.name in offered]
    if not calls:
        return True, "no call to an offered API"
    found = [_has_succeeded(call) for call in calls]
    if True in found:
        return _NO_VIOLATION
    if None in found:
        return None, f"the response of {_format_call(calls[found.index(None)])} is cut"
    return True, f"{_format_call(calls[-1])} came back with an error or empty, like all calls"


def check_grounded(answer: Answer) -> Finding:
    """At least half of what is specific in the final answer, and not from the query, stands in some response.

    Specific are numbers (without regard to thousands separators and padding zeros), words with digits in them, and
    words with a capital that do not open a sentence or line. An answer without any passes.
    """
    text = parse_finish(answer.final_answer)[1]
    wanted = _extract_specifics(text) - _extract_words(answer.query)
    calls = [call for call in answer.calls if call.name != FINISH]
    seen: set[str] = set()
    for call in calls:
        seen |= _extract_words(call.response)
    missing = sorted(wanted - seen)
    if 2 * len(missing) <= len(wanted):
        return _NO_VIOLATION
    why = f"{len(missing)} of {len(wanted)} specifics are in no response: {', '.join(missing[:5])}"
    return (None, why + " (responses are cut)") if any(call.cut for call in calls) else (True, why)


RULES: Mapping[str, Callable[[Answer], Finding]] = {
    "finished": check_finished,
    "no_hallucinated_api": check_no_hallucinated_api,
    "well_formed_calls": check_well_formed_calls,
    "successful_relevant_call": check_successful_relevant_call,
    "grounded": check_grounded,
}


def _format_call(call: ToolCall) -> str:
    arguments = " ".join(call.arguments.split())
    return f"{call.name[:80]}({arguments[:60]}{'…' if len(arguments) > 60 else ''})"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_numeric_text(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", value) is not None


# ToolBench writes `integer` for every number.
_TYPE_CHECKS: dict[str, Callable[[Any, object], bool]] = {
    "integer": lambda _, value: _is_number(value) or _is_numeric_text(value),
    "number": lambda _, value: _is_number(value) or _is_numeric_text(value),
    "string": lambda _, value: isinstance(value, str | bool) or _is_number(value),
    "boolean": lambda _, value: isinstance(value, bool) or str(value).strip().lower() in ("true", "false", "0", "1"),
}
_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(_TYPE_CHECKS),
)
_KNOWN_TYPES = {*_TYPE_CHECKS, "array", "object", "null"}


def _make_argument_check(function: Mapping[str, Any]) -> Callable[[dict[str, Any]], str]:
    """What is wrong with arguments of an offered API, '' for nothing.

    Of its schema only types, enumerations and `required` are used: schemas are untrusted, and the rest of the language
    can fetch what it refers to and run patterns.
    """
    given = function.get("parameters")
    parameters = given if isinstance(given, dict) else {}
    properties = parameters.get("properties")
    known = (
        {name: _keep_safe_keywords(schema) for name, schema in properties.items()}
        if isinstance(properties, dict)
        else {}
    )
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


def _keep_safe_keywords(schema: object) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}
    kept: dict[str, Any] = {}
    if isinstance(schema.get("type"), str) and schema["type"] in _KNOWN_TYPES:
        kept["type"] = schema["type"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        kept["enum"] = schema["enum"]
    return kept


_OBSERVATION_PATTERN = re.compile(
    r'\s*\{\s*"error"\s*:\s*"((?:[^"\\]++|\\.)*+)("?)\s*(?:,\s*"response"\s*:\s*(.*))?', re.DOTALL
)
_EMPTY_RESPONSES = ("", "null", "None", "{}", "[]", "''", '""')


def _has_succeeded(call: ToolCall) -> bool | None:
    """Whether a response holds no error and something else; None where it was cut before that could be seen.

    A response that is not JSON is read as far as it goes: ToolBench cuts observations.
    """
    value = parse_json_leniently(call.response)
    if isinstance(value, dict):
        response = value.get("response")
        if isinstance(response, str):
            return value.get("error") in ("", None) and response.strip() not in _EMPTY_RESPONSES
        return value.get("error") in ("", None) and response not in (None, [], {})
    match = _OBSERVATION_PATTERN.match(call.response)
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


_WORD_PATTERN = re.compile(r"\d+(?:[.,]\d+)*(?![^\W_])|[^\W_]+")
_SENTENCE_START_PATTERN = re.compile(r"(?:^|[.!?:\n*•#|>\-–]|\d[.)])[\s\"'“‘(\[*_]*\Z")


def _extract_words(text: str) -> set[str]:
    """All words and numbers of a text, as they are compared, and the parts of those that mix letters and digits.

    Escapes of texts within texts end words.
    """
    found = set()
    for match in _WORD_PATTERN.finditer(re.sub(r"(?<!\\)\\++[nrt]", " ", _decode_unicode_escapes(text))):
        found.add(_normalize_word(match[0]))
        if match[0].isalnum() and not match[0].isalpha():
            found |= {_normalize_word(part) for part in re.findall(r"\d+|[^\W\d_]+", match[0])}
    return found


def _extract_specifics(text: str) -> set[str]:
    found = set()
    text = re.sub(r"\\[nrt]", "\n", text)  # left where the final answer was no JSON
    for match in _WORD_PATTERN.finditer(text):
        word = match[0]
        opens = _SENTENCE_START_PATTERN.search(text[max(0, match.start() - 8) : match.start()])
        if any(c.isdigit() for c in word) or (len(word) > 1 and word[0].isupper() and not opens):
            found.add(_normalize_word(word))
    return found


def _normalize_word(word: str) -> str:
    if word[0].isdigit() and re.fullmatch(r"[\d.,]+", word):
        whole, point, part = re.sub(r",(?=\d{3}(?!\d))", "", word).partition(".")
        part = part.rstrip("0")
        return (whole.lstrip("0") or "0") + (point + part if part else "")
    return word.casefold()


def _decode_unicode_escapes(text: str) -> str:
    """With the escapes `\\uXXXX` of JSON texts, and of texts within them, as characters."""
    return re.sub(r"(?<!\\)\\++u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
