"""What else differs between models of different size, said wherever they are compared."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sweeper.models.known_configs import KNOWN_CONFIGS


def find_confounds(models: Iterable[str]) -> list[dict[str, Any]]:
    """Models, by name, that are built otherwise than the rest of their family: OPT-350M alone, so far."""
    found = []
    for model in dict.fromkeys(models):
        config = _find_known_config(model)
        if config is None or config.get("do_layer_norm_before", True):
            continue
        width, hidden = config["word_embed_proj_dim"], config["hidden_size"]
        found.append(
            {
                "model": model,
                "embedding_width": width,
                "hidden_size": hidden,
                "layer_norm": "post",
                "text": f"{model} is no smaller or larger copy of the other OPT models: it normalises after each "
                f"layer, not before (post-layer-norm), and its embeddings are {width} wide, projected to {hidden}. A "
                "difference between it and them may come from its architecture instead of its size.",
            }
        )
    return found


def _find_known_config(model: str) -> dict[str, Any] | None:
    """Of a known hub id, or of a name that ends like one: `opt-350m`, `our-opt-350m`."""
    name = model.lower().rsplit("/", 1)[-1]
    for known, config in KNOWN_CONFIGS.items():
        own = known.lower().rsplit("/", 1)[-1]
        if name == own or name.startswith(f"{own}-") or name.endswith(f"-{own}"):
            return config
    return None
