"""The judge `rules`: five rules that an answer can violate, each reported separately. No model is involved."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import jsonschema  # type: ignore[import-untyped]

from sweeper.evaluation.answers import FINISH, Answer, FunctionSchema, ToolCall
from sweeper.evaluation.judges.base import AnswerStatus, Judge, JudgeContext, Vote
from sweeper.evaluation.toolbench_format import GIVE_ANSWER, GIVE_UP, parse_finish, parse_json_leniently

Finding = tuple[bool | None, str]
"""(violated, reason). None: the source kept too little of the answer to decide."""

_NO_VIOLATION: Finding = (False, "")
_FINISH_FUNCTION: FunctionSchema = {
    "name": FINISH,
    "parameters": {
        "properties": {
            "return_type": {"type": "string", "enum": [GIVE_ANSWER, GIVE_UP]},
            "final_answer": {"type": "string"},
        },
        "required": ["return_type"],
    },
}
"""Schema of `Finish`, for answers that do not list it."""


class RulesJudge(Judge):
    """Solved where no rule is violated, unsolved where one is, unsure where none is and some cannot be decided."""

    name = "rules"
    identity = ""
    """Set it, e.g. to `rules-2`, with the next change of a rule. Empty keeps the fingerprints of existing suites."""

    def judge(self, answers: Sequence[Answer]) -> list[list[Vote]]:
        """Return one vote per answer. It is deterministic."""
        return [[self._cast_vote(answer)] for answer in answers]

    def _cast_vote(self, answer: Answer) -> Vote:
        findings = {rule: check(answer) for rule, check in RULES.items()}
        failed = [f"{rule}: {why}" for rule, (fails, why) in findings.items() if fails]
        undecided = [f"{rule} cannot be decided: {why}" for rule, (fails, why) in findings.items() if fails is None]
        status: AnswerStatus = "unsolved" if failed else "unsure" if undecided else "solved"
        reason = "; ".join(failed + undecided) or "no rule fails"
        holds = {rule: None if fails is None else not fails for rule, (fails, _) in findings.items()}
        return Vote(self.name, 0, status, reason, rules=holds)


def make_judge(context: JudgeContext) -> RulesJudge:
    """Build the judge. It needs nothing of the context."""
    return RulesJudge()


def check_finished(answer: Answer) -> Finding:
    """Check that the answer ended by `Finish` with `give_answer` and a text, whatever the text."""
    kind, text = parse_finish(answer.final_answer)
    if not answer.final_answer.strip():
        return True, f"no final answer ({answer.ended})"
    if not answer.calls or answer.calls[-1].name != FINISH:
        return True, "the last call is not Finish"
    if kind != GIVE_ANSWER:
        return True, f"return_type is {kind or 'missing'}"
    return _NO_VIOLATION if text.strip() else (True, "the final answer is empty")


def check_no_hallucinated_api(answer: Answer) -> Finding:
    """Check that every called API is offered."""
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
    """Check that arguments are JSON objects with all required parameters and acceptable types.

    The tools' servers receive all arguments as text, so a number may be written as text and vice versa. Parameters that
    are missing from the schema are accepted, and so are all parameters of an API that is not offered.
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
            arguments = answer.final_answer  # the same text, uncut
        value = parse_json_leniently(arguments)
        if isinstance(value, dict):
            problem = checks[call.name](value) if call.name in checks else ""
            if problem:
                return True, f"{_format_call(call)}: {problem}"
        elif call.cut and not call.response and arguments == call.arguments and arguments.lstrip()[:1] in ("", "{"):
            undecided = None, f"{_format_call(call)} is cut in its arguments"
        else:
            return True, f"{_format_call(call)}: the arguments are not a JSON object"
    return undecided


def check_successful_relevant_call(answer: Answer) -> Finding:
    """Check that a call to an offered API, other than `Finish`, returned a response without an error."""
    offered = {str(function["name"]) for function in answer.functions} - {FINISH}
    calls = [call for call in answer.calls if call.name in offered]
    if not calls:
        return True, "no call to an offered API"
    succeeded = [_has_succeeded(call) for call in calls]
    if True in succeeded:
        return _NO_VIOLATION
    if None in succeeded:
        return None, f"the response of {_format_call(calls[succeeded.index(None)])} is cut"
    return True, f"{_format_call(calls[-1])} returned an error or nothing, like all calls"


def check_grounded(answer: Answer) -> Finding:
    """Check that at least half of the specifics of the final answer that are not in the query are in some response.

    Specifics are numbers (regardless of thousands separators and padding zeros), words that contain digits, and
    capitalized words that do not open a sentence or line. An answer without specifics passes.
    """
    text = parse_finish(answer.final_answer)[1]
    specifics = _extract_specifics(text) - _extract_words(answer.query)
    calls = [call for call in answer.calls if call.name != FINISH]
    grounds: set[str] = set()
    for call in calls:
        grounds |= _extract_words(call.response)
    missing = sorted(specifics - grounds)
    if 2 * len(missing) <= len(specifics):
        return _NO_VIOLATION
    why = f"{len(missing)} of {len(specifics)} specifics are in no response: {', '.join(missing[:5])}"
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
_TYPE_CHECKS: dict[str, Callable[[object, object], bool]] = {
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


def _make_argument_check(function: FunctionSchema) -> Callable[[dict[str, object]], str]:
    """Make a function that describes the problem of arguments of an offered API, '' if there is none.

    Only types, enumerations and `required` of the schema are used. Schemas are untrusted, and other keywords can fetch
    what they refer to and run regular expressions.
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

    def find_problem(arguments: dict[str, object]) -> str:
        try:
            error = next(validator.iter_errors(arguments), None)
        except RecursionError:
            return "nested too deeply"
        if error is None:
            return ""
        where = ".".join(map(str, error.absolute_path))
        return f"{where + ': ' if where else ''}{error.message[:100]}"

    return find_problem


def _keep_safe_keywords(schema: object) -> dict[str, object]:
    if not isinstance(schema, dict):
        return {}
    safe: dict[str, object] = {}
    if isinstance(schema.get("type"), str) and schema["type"] in _KNOWN_TYPES:
        safe["type"] = schema["type"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        safe["enum"] = schema["enum"]
    return safe


_OBSERVATION_PATTERN = re.compile(
    r'\s*\{\s*"error"\s*:\s*"((?:[^"\\]++|\\.)*+)("?)\s*(?:,\s*"response"\s*:\s*(.*))?', re.DOTALL
)
_EMPTY_RESPONSES = ("", "null", "None", "{}", "[]", "''", '""')


def _has_succeeded(call: ToolCall) -> bool | None:
    """Return whether a response contains no error and some content; None where it was cut before either is visible.

    Of a response that is not JSON, the readable beginning counts: ToolBench cuts observations.
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
    """Extract the normalized words and numbers of a text, and the parts of those that mix letters and digits.

    Escape sequences of nested texts separate words.
    """
    words = set()
    for match in _WORD_PATTERN.finditer(re.sub(r"(?<!\\)\\++[nrt]", " ", _decode_unicode_escapes(text))):
        words.add(_normalize_word(match[0]))
        if match[0].isalnum() and not match[0].isalpha():
            words |= {_normalize_word(part) for part in re.findall(r"\d+|[^\W\d_]+", match[0])}
    return words


def _extract_specifics(text: str) -> set[str]:
    """Extract the normalized numbers, words with digits, and names of a text."""
    specifics = set()
    text = re.sub(r"\\[nrt]", "\n", text)  # present where the final answer was not JSON
    for match in _WORD_PATTERN.finditer(text):
        word = match[0]
        opens = _SENTENCE_START_PATTERN.search(text[max(0, match.start() - 8) : match.start()])
        if any(c.isdigit() for c in word) or (len(word) > 1 and word[0].isupper() and not opens):
            specifics.add(_normalize_word(word))
    return specifics


def _normalize_word(word: str) -> str:
    if word[0].isdigit() and re.fullmatch(r"[\d.,]+", word):
        whole, point, part = re.sub(r",(?=\d{3}(?!\d))", "", word).partition(".")
        part = part.rstrip("0")
        return (whole.lstrip("0") or "0") + (point + part if part else "")
    return word.casefold()


def _decode_unicode_escapes(text: str) -> str:
    """Replace the escapes `\\uXXXX` of JSON texts, nested ones included, by their characters."""
    return re.sub(r"(?<!\\)\\++u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
