"""Natural-language queries with gold solutions; splits that share no instruction, by construction."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweeper.errors import UsageError
from sweeper.toolworld import lexicon
from sweeper.toolworld.catalogue import Api, Catalogue
from sweeper.toolworld.executor import call_api
from sweeper.toolworld.schemas import make_api_schema, make_finish_schema

if TYPE_CHECKING:
    import numpy as np

GoldCall = tuple[str, dict[str, Any], str]
"""(API name, arguments, observation text)."""

Instruction = tuple[tuple[str, str, int], ...]
"""What is asked, apart from its wording and order: (API name, entity, count or 0) of each call, sorted."""

MAX_CONSECUTIVE_MISSES = 1000
"""So many draws in a row that gave nothing new mean that (nearly) nothing new is left."""

APIS_PER_QUERY = 3
"""APIs offered to a query, beside Finish."""


@dataclass(frozen=True)
class WorldQuery:
    """A query, what is offered for it, and its gold solution. Only what is drawn is kept: whoever counts queries should
    not wait for documents that nobody reads."""

    query_id: int
    subset: str
    query: str
    apis: tuple[Api, ...]
    """The offered APIs, in the order of `functions` (which ends with Finish)."""
    gold_apis: tuple[Api, ...]
    """Those that the gold solution calls, in its order."""
    gold_plan: Instruction
    """What it calls them with, in its order."""
    catalogue: Catalogue = field(repr=False, compare=False)
    system: str = lexicon.WORLD_SYSTEM_PROMPT

    @property
    def instruction(self) -> Instruction:
        """What is asked, whatever the order."""
        return tuple(sorted(self.gold_plan))

    @cached_property
    def functions(self) -> tuple[dict[str, Any], ...]:
        """Schemas of what is offered."""
        return (*(make_api_schema(api) for api in self.apis), make_finish_schema())

    @cached_property
    def gold_calls(self) -> tuple[GoldCall, ...]:
        """The calls of the gold solution."""
        calls = []
        for api, (_, entity, count) in zip(self.gold_apis, self.gold_plan, strict=True):
            given = (entity, count)[: len(api.parameters)]
            arguments = {p.name: value for p, value in zip(api.parameters, given, strict=True)}
            calls.append((api.name, arguments, call_api(self.catalogue, api, arguments)))
        return tuple(calls)

    @property
    def gold_values(self) -> tuple[str, ...]:
        """The responses of the gold calls: what a right answer has to contain."""
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
    """`count` queries with distinct texts; none asks what a blocked instruction asks.

    `subset` is e.g. `G1_tool`: group, then what is unseen (`instruction`: nothing but the instruction).
    Raises UsageError where the world has not that many different queries.
    """
    group, _, unseen = subset.partition("_")
    pairs = _list_candidates(catalogue, group, "" if unseen == "instruction" else unseen)
    found: dict[str, WorldQuery] = {}
    misses = 0
    while len(found) < count and misses < MAX_CONSECUTIVE_MISSES:
        apis = pairs[int(rng.integers(len(pairs)))]
        plan = _draw_plan(rng, catalogue, group, apis)
        opening = lexicon.QUERY_TEMPLATES[int(rng.integers(len(lexicon.QUERY_TEMPLATES)))]
        text = opening.format(_phrase_query(group, apis, plan))
        if text in found or tuple(sorted(plan)) in excluded_instructions:
            misses += 1
            continue
        misses = 0
        offered = _draw_offered_apis(rng, catalogue, apis)
        found[text] = WorldQuery(first_id + len(found), subset, text, offered, apis, plan, catalogue)
    if len(found) < count:
        raise UsageError(
            "toolworld settings",
            requested=f"{count} queries of {subset}",
            found=f"only {len(found)} differ",
            hint="ask for less",
        )
    return list(found.values())


def _list_candidates(catalogue: Catalogue, group: str, unseen: str) -> list[tuple[Api, ...]]:
    """The API sequences a group may ask for."""
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
    """Draw the arguments. In G3 the second call's entity is the first call's value."""
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
    asked = [_phrase_call(api, entity, count) for api, (_, entity, count) in zip(apis, plan, strict=True)]
    if group == "G3":
        return f"{asked[0]} and its {apis[1].field} at {apis[1].tool}"
    return " and ".join(asked)


def _phrase_call(api: Api, entity: str, count: int) -> str:
    number = f"{count} " if count else ""
    return f'the {api.field} of {number}"{entity}" at {api.tool}'


def _draw_offered_apis(rng: np.random.Generator, catalogue: Catalogue, apis: tuple[Api, ...]) -> tuple[Api, ...]:
    """The needed APIs and others of the same tools, shuffled."""
    others = [
        api for tool in dict.fromkeys(a.tool for a in apis) for api in catalogue.tools[tool].apis if api not in apis
    ]
    chosen = [*apis, *(others[i] for i in rng.permutation(len(others))[: APIS_PER_QUERY - len(apis)])]
    return tuple(chosen[i] for i in rng.permutation(len(chosen)))
