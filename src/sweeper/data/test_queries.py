"""Test queries -> suites of the six subsets, named and checked against the published counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Literal, assert_never

from sweeper.config import DataSpec
from sweeper.data.api_names import make_function_name, standardize_api_name, standardize_name
from sweeper.data.schema_checks import SchemaMismatchError, require_field, require_items
from sweeper.errors import DataError, MissingPathError
from sweeper.storage import Json, JsonObject, JsonTextError, parse_json

SUBSETS = ("G1_instruction", "G1_category", "G1_tool", "G2_instruction", "G2_category", "G3_instruction")
PUBLISHED_SUITES = {
    "toolbench-1100": dict(zip(SUBSETS, (200, 200, 200, 200, 200, 100), strict=True)),
    "solvable-765": dict(zip(SUBSETS, (163, 153, 158, 106, 124, 61), strict=True)),
}
"""Queries per subset of ToolBench's test set, and of the solvable ones of StableToolBench (arXiv 2403.07714)."""


@dataclass(frozen=True)
class OfferedApi:
    """An API of a query's `api_list`."""

    function: str
    """Name of its function, as the model sees it."""
    api: str
    """Standard name of the API."""
    tool: str
    """Standard name of its tool."""
    category: str
    """Category of the tool."""
    document: JsonObject = dataclass_field(repr=False, compare=False)
    """The unchanged item of the list."""


@dataclass(frozen=True)
class SuiteQuery:
    """One test query."""

    id: str
    """Its id in the suite."""
    text: str
    """The user's query."""
    apis: tuple[OfferedApi, ...]
    """The APIs on offer."""
    needed_tools: frozenset[str]
    """Tools of its "relevant APIs", or of all offered ones where none is named."""


@dataclass(frozen=True)
class Suite:
    """A set of test queries."""

    subsets: dict[str, tuple[SuiteQuery, ...]]
    """Subset -> its queries, in order."""
    missing_ids: dict[str, tuple[str, ...]]
    """Subset -> ids listed in `test_query_ids` that no query has."""

    @property
    def query_counts(self) -> dict[str, int]:
        """Queries per subset."""
        return {name: len(queries) for name, queries in self.subsets.items()}

    @property
    def name(self) -> str:
        """Name of the published suite with these counts, or which part of one this is."""
        for name, expected in PUBLISHED_SUITES.items():
            if self.query_counts == expected:
                return name
        for name, expected in PUBLISHED_SUITES.items():
            if self.query_counts and all(expected.get(subset) == count for subset, count in self.query_counts.items()):
                return f"part of {name} ({len(self.subsets)} of its six subsets): {', '.join(self.subsets)}"
        return "unpublished set"

    def to_document(self) -> JsonObject:
        """Return the suite as commands print it."""
        return {
            "name": self.name,
            "complete": self.name in PUBLISHED_SUITES,
            "queries": sum(self.query_counts.values()),
            "subsets": self.query_counts,
            "expected": PUBLISHED_SUITES,
            "missing_ids": {name: list(ids) for name, ids in self.missing_ids.items()},
        }


def read_suite(location: Path) -> Suite:
    """Read a suite.

    Args:
        location: a folder with `test_instruction/` or `instruction/`, such a folder itself, or one file. With
            `test_query_ids/` beside it, a subset consists of its ids, in their order.

    Returns:
        The queries by subset.

    Raises:
        DataError: the queries cannot be read, or there are none.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = Path(tempfile.mkdtemp())
        >>> from sweeper.toolworld import WorldConfig, build_world, export_world
        >>> export_world(build_world(WorldConfig(train_queries=3, test_queries_per_subset=2)), folder)
        >>> read_suite(folder).query_counts["G1_tool"]
        2
    """
    files = _find_query_files(location)
    ids = {subset: _read_ids(file) for subset, file in _find_id_files(location).items()}
    subsets: dict[str, tuple[SuiteQuery, ...]] = {}
    for file in files:
        queries = parse_queries(str(file), _read_json_file(file))
        listed = [subset for subset in ids if subset == file.stem or f"{subset[:2]}_query" == file.stem]
        for subset in listed or [file.stem]:
            chosen = {query.id: query for query in queries if subset not in ids or query.id in ids[subset]}
            if chosen:
                subsets[subset] = tuple(chosen[i] for i in ids.get(subset, chosen) if i in chosen)
    if not subsets:
        raise DataError(f"test queries {location}", requested="queries of the six subsets", found="none")
    known = {subset: {query.id for query in queries} for subset, queries in subsets.items()}
    expected = ids if location.is_dir() else {subset: listed for subset, listed in ids.items() if subset in known}
    missing = {
        subset: tuple(i for i in listed if i not in known.get(subset, ())) for subset, listed in expected.items()
    }
    order = [*(s for s in SUBSETS if s in subsets), *(s for s in subsets if s not in SUBSETS)]
    return Suite({s: subsets[s] for s in order}, {s: m for s, m in missing.items() if m})


def open_suite(data: DataSpec, split: Literal["test", "validation"] = "test") -> Suite:
    """Open the generated world's queries of a split, or the test queries at the data's path.

    Args:
        data: the source.
        split: which queries of a generated world.

    Returns:
        The queries by subset.

    Raises:
        DataError: they cannot be read, or there are none.
        UsageError: wrong settings of the generated world.

    Example:
        >>> from sweeper.config import load_data_spec
        >>> world = {"train_queries": 6, "validation_queries": 3, "test_queries_per_subset": 1}
        >>> data = load_data_spec("toolworld", toolworld=world)
        >>> sum(open_suite(data).query_counts.values())
        6
    """
    match data.source:
        case "toolworld":
            from sweeper import toolworld

            world = toolworld.build_world(toolworld.WorldConfig.from_mapping(data.toolworld))
            documents = toolworld.make_test_query_documents(world, split)
            return Suite({subset: parse_queries(subset, rows) for subset, rows in documents.items()}, {})
        case "toolbench":
            return read_suite(Path(str(data.path)).expanduser())
        case _:
            assert_never(data.source)


def parse_queries(location: str, rows: object) -> tuple[SuiteQuery, ...]:
    """Parse a list `[{"query", "query_id", "api_list", "relevant APIs"}]`. Raises DataError naming a wrong item."""
    if not isinstance(rows, list):
        raise DataError(f"test queries {location}", found=f"{type(rows).__name__}, not a list of queries")
    queries = []
    for k, row in enumerate(rows):
        try:
            queries.append(_parse_query(row))
        except SchemaMismatchError as error:
            raise DataError(f"test queries {location}[{k}]", found=str(error)) from error
    twice = [i for i, count in Counter(query.id for query in queries).items() if count > 1]
    if twice:
        raise DataError(f"test queries {location}", found=f"the same query_id more than once: {', '.join(twice[:5])}")
    return tuple(queries)


def _parse_query(row: JsonObject) -> SuiteQuery:
    apis = []
    for k, api in enumerate(require_items(row, "api_list", dict, "")):
        tool, name, category = (
            require_field(api, key, str, f"api_list[{k}]") for key in ("tool_name", "api_name", "category_name")
        )
        apis.append(
            OfferedApi(
                make_function_name(name, tool), standardize_api_name(name), standardize_name(tool), category, api
            )
        )
    if not isinstance(row.get("query_id"), int | str):
        raise SchemaMismatchError(f"query_id is {type(row.get('query_id')).__name__}, neither a number nor a text")
    relevant = {standardize_name(str(pair[0])) for pair in row.get("relevant APIs") or [] if pair}
    return SuiteQuery(
        str(row["query_id"]),
        require_field(row, "query", str, ""),
        tuple(apis),
        frozenset(relevant or {a.tool for a in apis}),
    )


def _find_query_files(location: Path) -> list[Path]:
    """Return one file per subset; ToolBench's `instruction` files only where there are no test files."""
    if location.is_file():
        return [location]
    for folder in (location / "test_instruction", location / "instruction", location):
        if files := _list_visible(folder):
            return files
    where, hint = f"test queries {location}", "ToolBench's folder with test_instruction/, or one file"
    if not location.is_dir():
        raise MissingPathError(where, found="no such file or folder", hint=hint)
    raise DataError(where, found="no *.json of test queries in it", hint=hint)


def _find_id_files(location: Path) -> dict[str, Path]:
    """Return subset -> its file of ids, by StableToolBench's names or ToolBench's longer ones."""
    for near in (location, *location.resolve().parents[:2]):
        if files := _list_visible(near / "test_query_ids"):
            return {file.stem.removesuffix("_test_query_ids"): file for file in files}
    return {}


def _read_ids(file: Path) -> list[str]:
    ids = _read_json_file(file, unique_keys=True)
    if not isinstance(ids, dict | list):
        raise DataError(f"query ids {file}", found=f"{type(ids).__name__}, not ids")
    return [str(i) for i in ids]


def _list_visible(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.glob("*.json")) if file.is_file() and not file.name.startswith(".")]


def _read_json_file(file: Path, *, unique_keys: bool = False) -> Json:
    try:
        return parse_json(file.read_bytes(), unique_keys=unique_keys).value
    except JsonTextError as error:
        raise DataError(f"{file}{error.place}", found=str(error)) from error
    except OSError as error:
        raise DataError(str(file), found=f"cannot be read: {error}") from error


def find_tool_categories(location: Path) -> dict[str, str]:
    """Return standard tool name -> category, from ToolBench's `instruction/*.json` in or beside the training data.

    Empty where there is none. Raises DataError for a damaged file.
    """
    for folder in (location, *location.resolve().parents[:2]):
        if files := _list_visible(folder / "instruction"):
            return map_tools_to_categories(
                query for file in files for query in parse_queries(str(file), _read_json_file(file))
            )
    return {}


def map_tools_to_categories(queries: Iterable[SuiteQuery]) -> dict[str, str]:
    """Return standard tool name -> category."""
    return {api.tool: api.category for query in queries for api in query.apis}
