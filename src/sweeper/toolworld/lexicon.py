"""All words of the world: few and short, so that a 512-token vocabulary spells most of them as one token.

The names of unseen tools and of the tools of unseen categories are items as well: a model meets them in training
as arguments, never as tools, and has to copy them from the prompt.
"""

from __future__ import annotations

ITEMS = (
    ("cup", "hat", "tea", "lamp", "ball", "cake", "soap", "ring")
    + ("van", "tent", "boat", "cart", "barn", "kite")
    + ("drum", "radio", "harp", "sled", "ski", "coat")
)
NAMES = ("ann", "bob", "eve", "kim", "leo", "max", "sue", "tom", "zoe", "ian")
CITIES = ("rome", "oslo", "lima", "cairo", "paris", "delhi", "tokyo", "bern", "quito", "seoul")
COLORS = ("red", "blue", "green", "gray", "pink", "gold", "black", "white")

POOLS = {"item": ITEMS, "name": NAMES, "city": CITIES}
"""Entities by the name of the parameter that takes them."""

NUMBERS = ("price", "size", "rank", "rate", "age", "level", "speed", "score")
"""Fields holding a whole number from 2 to 99."""

WORDS = {"color": COLORS, "owner": NAMES, "home": CITIES, "gift": ITEMS}
"""Fields holding a word, and where it comes from."""

LINKS = {"owner": "name", "home": "city", "gift": "item"}
"""Fields whose value is an entity, and the parameter it fits: what a G3 query follows."""

PRODUCTS = ("total", "bill")
"""Functions of an entity and a count: its unit (2 to 9) times the count."""

COUNT = "count"

SEEN_CATEGORIES = {
    "Shopping": ("item", ("shop", "market", "store"), "van"),
    "School": ("name", ("school", "class", "club"), "tent"),
    "Travel": ("city", ("hotel", "train", "ferry"), "boat"),
    "Food": ("item", ("cafe", "diner", "farm"), "cart"),
    "Work": ("name", ("office", "bank", "clinic"), "barn"),
    "Sights": ("city", ("museum", "park", "zoo"), "kite"),
}
"""Category -> (parameter, tools seen in training, the unseen tool)."""

UNSEEN_CATEGORIES = {"Music": ("name", ("drum", "radio", "harp")), "Winter": ("item", ("sled", "ski", "coat"))}
"""Category -> (parameter, tools); nothing of them is in training."""

OPENINGS = ("What is {}?", "Tell me {}.", "Find {}.", "Please give me {}.", "I need {}.", "Show {}.")
"""Ways of asking; `{}` is what is asked for."""

SYSTEM = "Use the APIs."
