"""Schemas that a model sees."""

from __future__ import annotations

import jsonschema
import pytest

from sweeper.toolworld.catalogue import Api, Parameter
from sweeper.toolworld.schemas import describe_api, make_api_schema, make_finish_schema

ENTITY, COUNT = Parameter("item", "string", "cup"), Parameter("count", "integer", "2")
PRICE = Api("Retail", "sea_shop", "price", "item", (ENTITY,))
TOTAL = Api("Retail", "sea_shop", "total", "item", (ENTITY, COUNT))


@pytest.mark.parametrize(
    ("api", "text"), [(PRICE, "The price of one item."), (TOTAL, "The total of a number of one item.")]
)
def test_describe_api_names_the_field_and_the_kind(api: Api, text: str) -> None:
    assert describe_api(api) == text
    assert make_api_schema(api)["description"].endswith(f'The description of this function is: "{text}"')


def test_make_api_schema_requires_every_parameter() -> None:
    schema = make_api_schema(TOTAL)
    assert schema["name"] == "total_for_sea_shop"
    assert schema["parameters"]["required"] == ["item", "count"]
    assert schema["parameters"]["properties"]["count"] == {"type": "integer", "description": "", "example_value": "2"}


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [({"item": "cup", "count": 2}, True), ({"item": "cup"}, False), ({"item": "cup", "count": "2"}, False)],
)
def test_make_api_schema_parameters_validate_arguments(arguments: dict[str, object], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(make_api_schema(TOTAL)["parameters"]).is_valid(arguments) == valid


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        ({"return_type": "give_answer", "final_answer": "42"}, True),
        ({"return_type": "give_up_and_restart"}, True),
        ({"return_type": "give_up"}, False),
        ({"final_answer": "42"}, False),
    ],
)
def test_make_finish_schema_parameters_validate_arguments(arguments: dict[str, object], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(make_finish_schema()["parameters"]).is_valid(arguments) == valid
