"""API lists as schemas and as text, and the counts of what readers leave out."""

from __future__ import annotations

import pytest

from sweeper.data.conversations import ApiList, ReaderCounts

FUNCTIONS = [{"name": "f", "required": ["a"]}, {"name": "Finish"}]


def test_api_list_converts_between_schemas_and_text() -> None:
    by_schemas, by_text = ApiList(FUNCTIONS), ApiList(text=str(FUNCTIONS))
    assert by_schemas == by_text
    assert hash(by_schemas) == hash(by_text)
    assert by_text.functions == by_schemas.functions == tuple(FUNCTIONS)
    assert by_text.names == ("f", "Finish")
    assert by_schemas.text == "[{'name': 'f', 'required': ['a']}, {'name': 'Finish'}]"
    assert by_schemas != ApiList(FUNCTIONS[:1])


@pytest.mark.parametrize("text", ["[{'name': ", "{'name': 'f'}", "[1]", "f()", "[" * 10_000])
def test_api_list_of_other_text_has_no_functions(text: str) -> None:
    apis = ApiList(text=text)
    assert (apis.functions, apis.names, apis.text) == (None, (), text)


def test_reader_counts_name_the_first_hundred_problems_and_count_all() -> None:
    counts = ReaderCounts()
    for k in range(150):
        counts.record_drop("not-json", f"file {k}", "bad")
    assert counts.drop_counts == {"not-json": 150}
    assert (len(counts.problems), counts.problems[0]) == (100, "file 0: bad")
