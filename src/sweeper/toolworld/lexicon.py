"""All words of the world: few and short, so that a small vocabulary has most of them as one token.

A tool's name has two words, such as `sea_shop`. The names of unseen tools, and of tools of unseen categories, are new
combinations: every word occurs in training, but a model must copy the combination from the prompt.
"""

from __future__ import annotations

ITEMS = ("cup", "hat", "tea", "lamp", "ball", "cake", "soap", "ring", "coat", "drum")
NAMES = ("ann", "bob", "eve", "kim", "leo", "max", "sue", "tom", "zoe", "ian")
CITIES = ("rome", "oslo", "lima", "cairo", "paris", "delhi", "tokyo", "bern", "quito", "seoul")
COLORS = ("red", "blue", "green", "gray", "pink", "gold", "black", "white")

ENTITY_POOLS = {"item": ITEMS, "name": NAMES, "city": CITIES, "color": COLORS}
"""Entities by kind. A tool's table holds one kind."""

NUMBER_FIELDS = ("price", "size", "rank", "rate", "age", "level", "speed", "score")
"""Fields holding a whole number from 10 to 99."""

WORD_FIELDS = {"color": COLORS, "owner": NAMES, "home": CITIES, "gift": ITEMS}
"""Fields holding a word, and the words they can hold."""

LINK_FIELDS = {"owner": "name", "home": "city", "gift": "item"}
"""Fields whose value is an entity, and its kind; G3 queries follow them to another tool."""

PRODUCT_FIELDS = ("total", "bill")
"""APIs of an entity and a count: the entity's unit value (2 to 9) times the count."""

ENTITY_PARAMETER, COUNT_PARAMETER = "item", "count"
"""Names of the parameters."""

FIRST_WORDS = ("sun", "sea", "city", "hill", "lake", "star")
LAST_WORDS = ("shop", "bank", "park", "farm", "club", "port")
"""The two words of a tool's name."""

SEEN_CATEGORIES = {
    "Retail": "item",
    "Staff": "name",
    "Travel": "city",
    "Food": "item",
    "Social": "name",
    "Cargo": "city",
}
"""Category -> kind of the entities in its tables."""

UNSEEN_CATEGORIES = {"Sport": "name", "Art": "color"}
"""The same for categories outside the training data, where colors occur only as values, never as arguments."""

QUERY_TEMPLATES = ("What is {}?", "Tell me {}.", "Please find {}.", "Please give {}.", "I need {}.", "Show me {}.")
"""Wordings of a query; `{}` is the requested value."""

WORLD_SYSTEM_PROMPT = "Use the APIs."
