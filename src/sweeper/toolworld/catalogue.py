"""Categories, tools, APIs, collections and the tables behind them, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sweeper.toolworld import lexicon

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Parameter:
    """A required, typed argument. `type` is JSON Schema's: `string` or `integer`."""

    name: str
    type: str
    example: str


@dataclass(frozen=True)
class Api:
    """A pure function over one field of its tool's table: look it up, or multiply it by a count."""

    category: str
    tool: str
    field: str
    parameters: tuple[Parameter, ...]

    @property
    def name(self) -> str:
        """As offered to the model: `<api>_for_<tool>`."""
        return f"{self.field}_for_{self.tool}"

    @property
    def entity(self) -> str:
        """Name of the parameter that takes the entity."""
        return self.parameters[0].name

    @property
    def counts(self) -> bool:
        """Whether it takes a count as well."""
        return len(self.parameters) > 1


@dataclass(frozen=True)
class Tool:
    """APIs over one table. `unseen` is '' for tools of the training data, else 'tool' or 'category'."""

    name: str
    category: str
    apis: tuple[Api, ...]
    unseen: str


@dataclass(frozen=True)
class Catalogue:
    """All tools by name, and the collections: names of seen tools, each from another category."""

    tools: dict[str, Tool]
    collections: tuple[tuple[str, ...], ...]
    tables: dict[tuple[str, str], dict[str, int | str]] = field(repr=False)
    """(tool, field) -> entity -> value."""

    def select(self, unseen: str) -> list[Tool]:
        """Tools with that `unseen` mark, in a fixed order."""
        return [tool for tool in self.tools.values() if tool.unseen == unseen]


def build_catalogue(rng: np.random.Generator) -> Catalogue:
    """Draw every tool's fields, every table, and the collections."""
    tools: list[Tool] = []
    for category, (entity, seen, unseen) in lexicon.SEEN_CATEGORIES.items():
        tools += [_tool(rng, category, name, entity, "") for name in seen]
        tools.append(_tool(rng, category, unseen, entity, "tool"))
    for category, (entity, names) in lexicon.UNSEEN_CATEGORIES.items():
        tools += [_tool(rng, category, name, entity, "category") for name in names]
    tables = {(api.tool, api.field): _table(rng, api) for tool in tools for api in tool.apis}
    orders = [[seen[i] for i in rng.permutation(len(seen))] for _, seen, _ in lexicon.SEEN_CATEGORIES.values()]
    return Catalogue({tool.name: tool for tool in tools}, tuple(zip(*orders, strict=True)), tables)


def _tool(rng: np.random.Generator, category: str, name: str, entity: str, unseen: str) -> Tool:
    """Five APIs: two number fields, a link and another word field, and a product."""
    links = sorted(lexicon.LINKS)
    link = links[int(rng.integers(len(links)))]
    others = sorted(set(lexicon.WORDS) - {link})
    numbers = [lexicon.NUMBERS[i] for i in rng.permutation(len(lexicon.NUMBERS))[:2]]
    product = lexicon.PRODUCTS[int(rng.integers(len(lexicon.PRODUCTS)))]
    who = Parameter(entity, "string", lexicon.POOLS[entity][0])
    fields = [*numbers, link, others[int(rng.integers(len(others)))]]
    apis = [Api(category, name, each, (who,)) for each in fields]
    apis.append(Api(category, name, product, (who, Parameter(lexicon.COUNT, "integer", "2"))))
    return Tool(name, category, tuple(apis), unseen)


def _table(rng: np.random.Generator, api: Api) -> dict[str, int | str]:
    """Entity -> value, for every entity that fits the API's parameter."""
    entities = lexicon.POOLS[api.entity]
    if api.field in lexicon.WORDS:
        words = lexicon.WORDS[api.field]
        return {
            entity: words[i] for entity, i in zip(entities, rng.integers(len(words), size=len(entities)), strict=True)
        }
    high = 9 if api.counts else 99
    values = rng.integers(2, high, size=len(entities), endpoint=True)
    return {entity: int(value) for entity, value in zip(entities, values, strict=True)}
