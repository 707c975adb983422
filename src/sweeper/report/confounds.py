"""What differs between models besides their size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sweeper.models.known_configs import KNOWN_CONFIGS

if TYPE_CHECKING:
    from sweeper.report.document import ConfoundEntry


def find_confounds(models: Iterable[str]) -> list[ConfoundEntry]:
    """Find models whose architecture differs from that of their family; so far OPT-350M alone.

    Args:
        models: names or hub ids.
    """
    confounds: list[ConfoundEntry] = []
    for model in dict.fromkeys(models):
        config = _find_known_config(model)
        if config is None or config.get("do_layer_norm_before", True):
            continue
        width, hidden = config["word_embed_proj_dim"], config["hidden_size"]
        confounds.append(
            {
                "model": model,
                "embedding_width": width,
                "hidden_size": hidden,
                "layer_norm": "post",
                "text": f"{model} is not a scaled version of the other OPT models: it normalizes after each layer "
                f"instead of before (post-layer-norm), and its embeddings are {width} wide, projected to {hidden}. "
                "A difference from them may be due to its architecture rather than its size.",
            }
        )
    return confounds


def _find_known_config(model: str) -> Mapping[str, int] | None:
    """Find the configuration of a known hub id, or of a name that contains one: `opt-350m`, `our-opt-350m`."""
    name = model.lower().rsplit("/", 1)[-1]
    for known_id, config in KNOWN_CONFIGS.items():
        known_name = known_id.lower().rsplit("/", 1)[-1]
        if name == known_name or name.startswith(f"{known_name}-") or name.endswith(f"-{known_name}"):
            return config
    return None
