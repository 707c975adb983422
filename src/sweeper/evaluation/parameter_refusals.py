"""Parameters that an OpenAI-compatible endpoint refuses: sent under another name, or left out, from then on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_RENAMES = {"max_tokens": "max_completion_tokens"}
"""Parameter -> the name under which newer models take it."""
_OPTIONAL = ("max_tokens", "temperature", "seed", "stop")
"""Parameters without which a request still asks the same question."""
_REFUSAL = re.compile(
    r"unsupported|not supported|unrecognized|unknown (?:parameter|field)|only the default", re.IGNORECASE
)


@dataclass
class ParameterRefusals:
    """What one endpoint has refused so far."""

    renamed: dict[str, str] = field(default_factory=dict)
    """Parameter -> the name that is sent instead."""
    dropped: list[str] = field(default_factory=list)
    """Parameters that are no longer sent."""

    def adapt(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Return the fields of a request as this endpoint takes them.

        Example:
            >>> ParameterRefusals(renamed={"max_tokens": "max_completion_tokens"}).adapt({"max_tokens": 9})
            {'max_completion_tokens': 9}
        """
        return {self.renamed.get(name, name): value for name, value in fields.items() if name not in self.dropped}

    def learn(self, sent: Mapping[str, object], body: object) -> bool:
        """Learn from the error of a refused request. Requests that were sent together are refused together.

        Args:
            sent: the fields of the request, as `adapt` returned them.
            body: the `error` of the reply, with `param`, `code` and `message`. It is untrusted and only compared.

        Returns:
            Whether a request would now differ, and so is worth another try.
        """
        error = body.get("error", body) if isinstance(body, dict) else {}
        error = error if isinstance(error, dict) else {}
        message = str(error.get("message") or "")[:1000]
        if not _REFUSAL.search(f"{error.get('code')} {message}"):
            return False
        for name in _OPTIONAL:
            for variant in (name, _RENAMES.get(name, name)):
                if variant in sent and _names_parameter(error, message, variant):
                    if variant in self.adapt({name: None}):  # otherwise another request has taught it already
                        self._stop_sending(name)
                    return True
        return False

    def _stop_sending(self, name: str) -> None:
        if name in _RENAMES and name not in self.renamed:
            self.renamed[name] = _RENAMES[name]
        else:
            self.dropped.append(name)

    def describe(self) -> list[str]:
        """Describe what is sent otherwise, one text per parameter."""
        renamed = [f"{name} sent as {other}" for name, other in self.renamed.items() if name not in self.dropped]
        return renamed + [f"{name} not sent" for name in self.dropped]


def _names_parameter(error: Mapping[str, object], message: str, name: str) -> bool:
    if error.get("param"):
        return error["param"] == name
    # "'max_tokens' is not supported. Use 'max_completion_tokens' instead.": the first one named is refused.
    named = re.search(r"(?<!\w)(" + "|".join((*_OPTIONAL, *_RENAMES.values())) + r")(?!\w)", message)
    return named is not None and named[1] == name
