"""The sentence of a claim: a text may name the claim's own fields, so that it stays true for claims that extend it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from sweeper.config.axes import format_arm_name, get_axis_label
from sweeper.config.claim import Claim

STATED_FIELDS = ("kind", "axis", "candidate", "against", "reference", "direction", "reading", "margin")
"""What a text can state. A claim that extends another and changes one of these has a text that names it, or its own."""
_PLACEHOLDER = re.compile(r"\{(\w*)\}")


def fill_in_text(claim: Claim) -> Claim:
    """Return the claim with the values of its fields in place of `{field}` in its text.

    Args:
        claim: a claim as written in a file.

    Raises:
        ValueError: the text names a field that the claim does not have.

    Example:
        >>> text = "{candidate} beats every smaller model by {margin}."
        >>> fields = {"axis": "model", "candidate": "opt-125m", "margin": 0.05}
        >>> fill_in_text(Claim(id="best", text=text, kind="best-of", **fields)).text
        'opt-125m beats every smaller model by 5 points.'
    """
    text = _PLACEHOLDER.sub(lambda match: _format_field(claim, match[1]), claim.text)
    return claim.model_copy(update={"text": text})


def find_unstated_changes(base: Mapping[str, object], own: Mapping[str, object]) -> Iterator[str]:
    """Find the fields that a claim changes without saying so: its text, from the claim it extends, does not name them.

    Args:
        base: fields of the claim that is extended.
        own: fields that override them.

    Yields:
        Names of fields.

    Example:
        >>> list(find_unstated_changes({"text": "350M is best.", "candidate": "opt-350m"}, {"candidate": "opt-125m"}))
        ['candidate']
    """
    if "text" in own:
        return
    named = _PLACEHOLDER.findall(str(base.get("text", "")))
    for name in STATED_FIELDS:
        default = Claim.model_fields[name].get_default(call_default_factory=True)
        if name in own and own[name] != base.get(name, default) and name not in named:
            yield name


def _format_field(claim: Claim, name: str) -> str:
    axis = claim.axis or ""
    match name:
        case "candidate" if axis:
            return format_arm_name(axis, claim.candidate)
        case "against" if axis:
            names = [format_arm_name(axis, value) for value in claim.against]
            return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]])) or "any other value"
        case "axis" if axis:
            return get_axis_label(axis)
        case "reference" if claim.reference is not None:
            return f"{100 * claim.reference:g} %" if claim.metric == "pass_rate" else f"{claim.reference:g}"
        case "margin":
            return f"{claim.margin:g} nats" if claim.is_about_loss else f"{100 * claim.margin:g} points"
        case "direction" if claim.direction:
            return claim.direction.replace("-", " ")
        case "kind" | "reading":
            return str(getattr(claim, name)).replace("-", " ")
    known = ", ".join(f"{{{field}}}" for field in STATED_FIELDS)
    raise ValueError(f"`{{{name}}}` in the text of the claim, which has no such field; a text can name {known}")
