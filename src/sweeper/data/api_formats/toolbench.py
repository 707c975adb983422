"""ToolBench's list: the Python text of the schemas, after its own sentence."""

from __future__ import annotations

from sweeper.data.conversations import ApiList

API_MARKER = "\nSpecifically, you have access to the following APIs: "
"""ToolBench's sentence between the system message and the API list."""


class ToolbenchFormat:
    """The Python text of the list of schemas."""

    def format_system_message(self, system: str, apis: ApiList) -> str:
        """Append ToolBench's sentence and the schemas."""
        return f"{system}{API_MARKER}{apis.text}"

    def make_entry_prefix(self, name: str) -> str:
        """Return the name field of a schema."""
        return f"'name': '{name}'"


API_FORMAT = ToolbenchFormat()
