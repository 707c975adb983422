"""Categories, tools, APIs, collections and the tables behind them, drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeper.toolworld import lexicon

if TYPE_CHECKING:
    import numpy as np


TOOLS_PER_CATEGORY = 4


@dataclass(frozen=True)
class Parameter:
    """A required, typed argument. `type` is one of JSON Schema: `string` or `integer`."""

    name: str
    type: str
    example: str


@dataclass(frozen=True)
class Api:
    """A pure function of one field of its tool's table: it looks the field up, or multiplies it by a count."""

    category: str
    tool: str
    field: str
    kind: str
    """Kind of the entities in its table."""
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """Name shown to models: `<api>_for_<tool>`."""
        return f"{self.field}_for_{self.tool}"

    @property
    def takes_count(self) -> bool:
        """Whether it also takes a count."""
        return len(self.parameters) > 1


@dataclass(frozen=True)
class Tool:
    """The APIs of one table. `unseen` is '' for tools of the training data, else 'tool' or 'category'."""

    name: str
    category: str
    apis: tuple[Api, ...]
    unseen: str


@dataclass(frozen=True)
class Catalogue:
    """All tools by name, and the collections: names of seen tools, each of a different category."""

    tools: dict[str, Tool]
    collections: tuple[tuple[str, ...], ...]
    tables: dict[tuple[str, str], dict[str, int | str]] = field(repr=False)
    """(tool, field) -> entity -> value."""

    def select_tools(self, unseen: str) -> list[Tool]:
        """Return the tools with this value of `unseen`, in a fixed order."""
        return [tool for tool in self.tools.values() if tool.unseen == unseen]


def build_catalogue(rng: np.random.Generator) -> Catalogue:
    """Draw the names and fields of all tools, all tables, and the collections."""
    firsts, lasts = _shuffle_words(rng, lexicon.FIRST_WORDS), _shuffle_words(rng, lexicon.LAST_WORDS)
    tools: list[Tool] = []
    for number, (category, kind) in enumerate((lexicon.SEEN_CATEGORIES | lexicon.UNSEEN_CATEGORIES).items()):
        for i, name in enumerate(_make_tool_names(number, firsts, lasts)):
            unseen = "tool" if i == TOOLS_PER_CATEGORY - 1 else ""
            unseen = "category" if category in lexicon.UNSEEN_CATEGORIES else unseen
            tools.append(_draw_tool(rng, category, name, kind, unseen))
    tables = {(api.tool, api.field): _draw_table(rng, api) for tool in tools for api in tool.apis}
    groups = [[t.name for t in tools if t.category == c and not t.unseen] for c in lexicon.SEEN_CATEGORIES]
    collections = tuple(zip(*(_shuffle_words(rng, names) for names in groups), strict=True))
    return Catalogue({tool.name: tool for tool in tools}, collections, tables)


def _make_tool_names(number: int, firsts: Sequence[str], lasts: Sequence[str]) -> list[str]:
    """Name the tools of a category, differently from all others: cells of a Latin square of first and last words.

    Cells are taken row by row, so that the seen tools of the first categories contain every word in its position.
    """
    start = TOOLS_PER_CATEGORY * number
    cells = [divmod(cell, len(firsts)) for cell in range(start, start + TOOLS_PER_CATEGORY)]
    return [f"{firsts[column]}_{lasts[(row + column) % len(lasts)]}" for row, column in cells]


def _shuffle_words(rng: np.random.Generator, words: Sequence[str]) -> list[str]:
    return [words[i] for i in rng.permutation(len(words))]


def _draw_tool(rng: np.random.Generator, category: str, name: str, kind: str, unseen: str) -> Tool:
    """Draw a tool of five APIs: two number fields, a link, another word field, and a product."""
    links = sorted(lexicon.LINK_FIELDS)
    link = links[int(rng.integers(len(links)))]
    others = sorted(set(lexicon.WORD_FIELDS) - {link})
    numbers = [lexicon.NUMBER_FIELDS[i] for i in rng.permutation(len(lexicon.NUMBER_FIELDS))[:2]]
    product = lexicon.PRODUCT_FIELDS[int(rng.integers(len(lexicon.PRODUCT_FIELDS)))]
    entity = Parameter(lexicon.ENTITY_PARAMETER, "string", lexicon.ENTITY_POOLS[kind][0])
    fields = [*numbers, link, others[int(rng.integers(len(others)))]]
    apis = [Api(category, name, each, kind, (entity,)) for each in fields]
    apis.append(Api(category, name, product, kind, (entity, Parameter(lexicon.COUNT_PARAMETER, "integer", "2"))))
    return Tool(name, category, tuple(apis), unseen)


def _draw_table(rng: np.random.Generator, api: Api) -> dict[str, int | str]:
    """Draw a value for every entity that the API accepts."""
    entities = lexicon.ENTITY_POOLS[api.kind]
    if api.field in lexicon.WORD_FIELDS:
        words = lexicon.WORD_FIELDS[api.field]
        return {
            entity: words[i] for entity, i in zip(entities, rng.integers(len(words), size=len(entities)), strict=True)
        }
    low, high = (2, 9) if api.takes_count else (10, 99)
    values = rng.integers(low, high, size=len(entities), endpoint=True)
    return {entity: int(value) for entity, value in zip(entities, values, strict=True)}
