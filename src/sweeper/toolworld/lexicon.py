"""All words of the world: few and short, so that a small vocabulary spells most of them as one token.

A tool is named by two words, `sea_shop`. Unseen tools, and the tools of unseen categories, combine the words anew: a
model meets every word in training, but has to copy the combination from the prompt.
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
"""Fields holding a word, and where it comes from."""

LINK_FIELDS = {"owner": "name", "home": "city", "gift": "item"}
"""Fields whose value is an entity, and its kind: what a G3 query follows."""

PRODUCT_FIELDS = ("total", "bill")
"""Functions of an entity and a count: its unit (2 to 9) times the count."""

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
"""Category -> the kind of entity that its tools know."""

UNSEEN_CATEGORIES = {"Sport": "name", "Art": "color"}
"""The same for categories of which nothing is in training. Colors are met there only as values, never as arguments."""

QUERY_TEMPLATES = ("What is {}?", "Tell me {}.", "Please find {}.", "Please give {}.", "I need {}.", "Show me {}.")
"""Ways of asking; `{}` is what is asked for."""

WORLD_SYSTEM_PROMPT = "Use the APIs."
