"""Models from disk, from the hub, or from a config and a seed. Master weights are always float32."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import ModelSpec
from sweeper.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "config.json")


def build_model(model: ModelSpec, tokenizer: Any, seed: int) -> PreTrainedModel:
    """An OPT or GPT-NeoX (`model_type`; OPT where it is not said) with random float32 weights drawn from `seed`, its
    vocabulary and special tokens the tokeniser's. Raises ModelError.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

    known = {"opt": (OPTConfig, OPTForCausalLM), "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM)}
    fields = copy.deepcopy(model.config or {})  # what is nested is transformers' to change
    kind = fields.pop("model_type", "opt")
    if kind not in known:
        raise ModelError(
            f"model {model.name}", requested=f"model_type: {kind}", found=f"only {', '.join(known)} are built"
        )
    config_class, model_class = known[kind]
    special = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    try:
        config = config_class(**fields, vocab_size=len(tokenizer), **special)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = model_class(config)
    except (ValueError, TypeError, StrictDataclassError) as error:
        raise ModelError(f"model {model.name}", requested=str(model.config), found=str(error)) from error
    return built.to(torch.float32)  # type: ignore[no-any-return]


def load_pretrained(source: str) -> PreTrainedModel:
    """A pretrained causal language model from a local directory or hub id, as float32. Raises ModelError.

    `from_pretrained` would keep the checkpoint's fp16, and the gradient scaler then has nothing to unscale.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)  # type: ignore[no-any-return]
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"model {source}",
            found=str(error).strip().splitlines()[0],
            hint="give a local directory saved by save_pretrained, or a hub id that this machine can reach",
        ) from error


def compute_weights_fingerprint(model: ModelSpec) -> str:
    """SHA-256 of what the initial weights are: the config they are drawn from, or the files of a local directory.

    A hub id counts by the commit in the local cache; where it is not cached yet, by its name alone ("unpinned").
    """
    if model.config is not None:
        text = json.dumps(model.config, sort_keys=True)
        return "config:" + hashlib.sha256(text.encode()).hexdigest()
    source = Path(str(model.source))
    if source.is_dir():
        return "files:" + _hash_files(source)
    if source.is_absolute() or str(model.source).startswith("."):
        raise ModelError(f"model {model.name}", requested=f"source: {source}", found="no such directory")
    return _find_hub_commit(str(model.source))


def _hash_files(directory: Path) -> str:
    files = sorted(path for pattern in _WEIGHT_PATTERNS for path in directory.glob(pattern))
    if not any(path.suffix != ".json" for path in files):
        raise ModelError(f"model {directory}", found="no weights (*.safetensors or *.bin)", hint="save_pretrained")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _find_hub_commit(name: str) -> str:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json")
    commit = Path(found).parent.name if isinstance(found, str) else "unpinned"
    return f"hub:{name}@{commit}"
