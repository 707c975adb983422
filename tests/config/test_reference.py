from __future__ import annotations

import pytest
from pydantic import ValidationError

from sweeper.config import Reference, load_references


def test_shipped_tables_have_a_source_a_judge_and_a_definition() -> None:
    tables = load_references()
    assert tables
    for table in tables:
        assert table.source and table.judge and table.query_set
        assert all(0 <= rate <= 100 for row in table.rows for rate in row.rates.values())


@pytest.mark.parametrize(("field", "value"), [("definition", "loose"), ("date", "26"), ("rows", [{"model": "m"}])])
def test_incomplete_table_is_refused(field: str, value: object) -> None:
    content = load_references()[0].model_dump() | {field: value}
    with pytest.raises(ValidationError, match=field):
        Reference.model_validate(content)
