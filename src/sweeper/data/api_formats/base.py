"""The interface of API formats."""

from __future__ import annotations

from typing import Protocol

from sweeper.data.conversations import ApiList
from sweeper.registry import Registry


class ApiFormat(Protocol):
    """One way to list APIs in the system message."""

    def format_system_message(self, system: str, apis: ApiList) -> str:
        """Append the API list to a system message."""
        ...

    def make_entry_prefix(self, name: str) -> str:
        """Return the text with which the entry of an API begins."""
        ...


API_FORMATS: Registry[ApiFormat] = Registry("API format", "data/api_formats", attribute="API_FORMAT")
