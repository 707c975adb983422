"""Natural-language queries with gold solutions; splits that share no instruction, by construction."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from sweeper.errors import UsageError
from sweeper.toolworld import lexicon
from sweeper.toolworld.catalogue import Api, Catalogue
from sweeper.toolworld.executor import call_api
from sweeper.toolworld.schemas import Document, make_api_schema, make_finish_schema

if TYPE_CHECKING:
    import numpy as np

GoldCall = tuple[str, dict[str, str | int], str]
"""(API name, arguments, observation text)."""

Instruction = tuple[tuple[str, str, int], ...]
"""Content of a query without its wording and order: (API name, entity, count or 0) of each call, sorted."""

MAX_CONSECUTIVE_MISSES = 1000
"""After this many draws in a row without a new query, (almost) no new ones are left."""

APIS_PER_QUERY = 3
"""APIs offered with a query, besides Finish."""


@dataclass(frozen=True)
class WorldQuery:
    """A query, the APIs offered with it, and its gold solution.

    Only what was drawn is stored; documents are made when they are read, so that counting queries is fast.
    """

    query_id: int
    subset: str
    query: str
    apis: tuple[Api, ...]
    """The offered APIs, in the order of `functions` (which ends with Finish)."""
    gold_apis: tuple[Api, ...]
    """The APIs of the gold solution, in the order of its calls."""
    gold_plan: Instruction
    """The arguments of the gold solution, in the order of its calls."""
    catalogue: Catalogue = field(repr=False, compare=False)
    system: str = lexicon.WORLD_SYSTEM_PROMPT

    @property
    def instruction(self) -> Instruction:
        """The content of the query, regardless of the order."""
        return tuple(sorted(self.gold_plan))

    @cached_property
    def functions(self) -> tuple[Document, ...]:
        """Schemas of the offered APIs and of Finish."""
        return (*(make_api_schema(api) for api in self.apis), make_finish_schema())

    @cached_property
    def gold_calls(self) -> tuple[GoldCall, ...]:
        """The calls of the gold solution, with their observations."""
        calls = []
        for api, (_, entity, count) in zip(self.gold_apis, self.gold_plan, strict=True):
            values: tuple[str | int, ...] = (entity, count)[: len(api.parameters)]
            arguments = {p.name: value for p, value in zip(api.parameters, values, strict=True)}
            calls.append((api.name, arguments, call_api(self.catalogue, api, arguments)))
        return tuple(calls)

    @property
    def gold_values(self) -> tuple[str, ...]:
        """The responses of the gold calls, which a correct answer must contain."""
        return tuple(str(json.loads(text)["response"]) for _, _, text in self.gold_calls)

    @property
    def gold_answer(self) -> str:
        """Text of the gold solution's final answer."""
        return " and ".join(self.gold_values)


def draw_queries(
    rng: np.random.Generator,
    catalogue: Catalogue,
    subset: str,
    count: int,
    first_id: int,
    excluded_instructions: frozenset[Instruction],
) -> list[WorldQuery]:
    """Draw queries with distinct texts.

    Args:
        catalogue: tools and tables.
        subset: group and what is unseen, such as `G1_tool` (`G1_instruction`: nothing but the instruction).
        count: number of queries.
        excluded_instructions: instructions that no query may have.

    Raises:
        UsageError: the world has fewer different queries.
    """
    group, _, unseen = subset.partition("_")
    pairs = _list_candidates(catalogue, group, "" if unseen == "instruction" else unseen)
    queries: dict[str, WorldQuery] = {}
    misses = 0
    while len(queries) < count and misses < MAX_CONSECUTIVE_MISSES:
        apis = pairs[int(rng.integers(len(pairs)))]
        plan = _draw_plan(rng, catalogue, group, apis)
        opening = lexicon.QUERY_TEMPLATES[int(rng.integers(len(lexicon.QUERY_TEMPLATES)))]
        text = opening.format(_phrase_query(group, apis, plan))
        if text in queries or tuple(sorted(plan)) in excluded_instructions:
            misses += 1
            continue
        misses = 0
        offered = _draw_offered_apis(rng, catalogue, apis)
        queries[text] = WorldQuery(first_id + len(queries), subset, text, offered, apis, plan, catalogue)
    if len(queries) < count:
        raise UsageError(
            "toolworld settings",
            requested=f"{count} queries of {subset}",
            found=f"only {len(queries)} different ones exist",
            hint="reduce their number",
        )
    return list(queries.values())


def _list_candidates(catalogue: Catalogue, group: str, unseen: str) -> list[tuple[Api, ...]]:
    """List the API sequences that a query of a group can require."""
    tools = catalogue.select_tools(unseen)
    match group:
        case "G1":
            return [(api,) for tool in tools for api in tool.apis]
        case "G2":
            pairs = [(a, b) for a in tools for b in tools if a.category == b.category and a.name != b.name]
            return [(f, g) for a, b in pairs for f in a.apis for g in b.apis]
        case "G3":
            groups = catalogue.collections
            pairs = [(catalogue.tools[a], catalogue.tools[b]) for c in groups for a in c for b in c if a != b]
            return [
                (f, g)
                for a, b in pairs
                for f in a.apis
                for g in b.apis
                if lexicon.LINK_FIELDS.get(f.field) == g.kind and not g.takes_count
            ]
        case _:
            raise UsageError("toolworld query group", requested=group, found="unknown", hint="one of: G1, G2, G3")


def _draw_plan(rng: np.random.Generator, catalogue: Catalogue, group: str, apis: tuple[Api, ...]) -> Instruction:
    """Draw the arguments. In G3, the entity of the second call is the value of the first."""
    calls: list[tuple[str, str, int]] = []
    for api in apis:
        if group == "G3" and calls:
            entity = str(catalogue.tables[apis[0].tool, apis[0].field][calls[0][1]])
        else:
            pool = lexicon.ENTITY_POOLS[api.kind]
            entity = pool[int(rng.integers(len(pool)))]
        calls.append((api.name, entity, int(rng.integers(2, 10)) if api.takes_count else 0))
    return tuple(calls)


def _phrase_query(group: str, apis: tuple[Api, ...], plan: Instruction) -> str:
    phrases = [_phrase_call(api, entity, count) for api, (_, entity, count) in zip(apis, plan, strict=True)]
    if group == "G3":
        return f"{phrases[0]} and its {apis[1].field} at {apis[1].tool}"
    return " and ".join(phrases)


def _phrase_call(api: Api, entity: str, count: int) -> str:
    number = f"{count} " if count else ""
    return f'the {api.field} of {number}"{entity}" at {api.tool}'


def _draw_offered_apis(rng: np.random.Generator, catalogue: Catalogue, apis: tuple[Api, ...]) -> tuple[Api, ...]:
    """Draw the offered APIs: the needed ones and others of the same tools, shuffled."""
    others = [
        api for tool in dict.fromkeys(a.tool for a in apis) for api in catalogue.tools[tool].apis if api not in apis
    ]
    chosen = [*apis, *(others[i] for i in rng.permutation(len(others))[: APIS_PER_QUERY - len(apis)])]
    return tuple(chosen[i] for i in rng.permutation(len(chosen)))
