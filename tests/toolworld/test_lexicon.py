"""Relations between the word lists that queries rely on."""

from __future__ import annotations

from sweeper.toolworld import lexicon
from sweeper.toolworld.catalogue import TOOLS_PER_CATEGORY


def test_lexicon_words_are_unambiguous_within_their_list() -> None:
    pools = (*lexicon.ENTITY_POOLS.values(), lexicon.FIRST_WORDS, lexicon.LAST_WORDS, lexicon.NUMBER_FIELDS)
    assert all(len(set(words)) == len(words) for words in pools)
    fields = [*lexicon.NUMBER_FIELDS, *lexicon.WORD_FIELDS, *lexicon.PRODUCT_FIELDS]
    assert len(set(fields)) == len(fields), "a field's name tells what its table holds"
    entities = [word for words in lexicon.ENTITY_POOLS.values() for word in words]
    assert len(set(entities)) == len(entities), "a value is an entity of one kind"


def test_lexicon_link_fields_hold_entities_of_the_kind_that_they_link_to() -> None:
    for name, kind in lexicon.LINK_FIELDS.items():
        assert lexicon.WORD_FIELDS[name] == lexicon.ENTITY_POOLS[kind]


def test_lexicon_categories_have_known_kinds_and_colors_are_arguments_of_unseen_ones_only() -> None:
    assert not lexicon.SEEN_CATEGORIES.keys() & lexicon.UNSEEN_CATEGORIES.keys()
    assert {*lexicon.SEEN_CATEGORIES.values(), *lexicon.UNSEEN_CATEGORIES.values()} <= lexicon.ENTITY_POOLS.keys()
    assert "color" not in lexicon.SEEN_CATEGORIES.values()
    assert set(lexicon.LINK_FIELDS.values()) <= set(lexicon.SEEN_CATEGORIES.values()), "a link leads to a seen tool"


def test_lexicon_names_suffice_for_all_tools() -> None:
    n_categories = len(lexicon.SEEN_CATEGORIES) + len(lexicon.UNSEEN_CATEGORIES)
    assert len(lexicon.FIRST_WORDS) * len(lexicon.LAST_WORDS) >= TOOLS_PER_CATEGORY * n_categories


def test_lexicon_query_templates_have_one_place_for_the_requested_value() -> None:
    assert all(template.count("{}") == 1 for template in lexicon.QUERY_TEMPLATES)
