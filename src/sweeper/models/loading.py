"""Loading models from disk or the hub, and building them from a config and a seed. Weights are always float32."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import ModelSpec
from sweeper.errors import ModelError
from sweeper.models.architecture import DEFAULT_FAMILY, check_layer_count
from sweeper.models.known_configs import load_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "config.json")


def build_model(model: ModelSpec, tokenizer: Any, seed: int) -> PreTrainedModel:
    """Build an OPT or GPT-NeoX model with random float32 weights.

    Args:
        model: its `config`; `model_type` is `opt` by default.
        tokenizer: gives the vocabulary size and the special tokens.
        seed: of the weights. PyTorch's random state is left as it was.

    Returns:
        The model, in training mode, on the CPU.

    Raises:
        ModelError: an unsupported `model_type` or an invalid field.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> from sweeper.data import train_tokenizer
        >>> tokenizer = train_tokenizer(["How much is the blue lamp?"] * 9, vocab_size=300)
        >>> build_model(load_model_spec("opt-tiny-32"), tokenizer, seed=0).config.hidden_size
        32
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, OPTConfig, OPTForCausalLM

    known = {"opt": (OPTConfig, OPTForCausalLM), "gpt_neox": (GPTNeoXConfig, GPTNeoXForCausalLM)}
    check_layer_count(model.config or {}, f"model {model.name}")
    fields = copy.deepcopy(model.config or {})  # transformers changes nested values
    family = fields.pop("model_type", DEFAULT_FAMILY)
    if family not in known:
        raise ModelError(
            f"model {model.name}", requested=f"model_type: {family}", found=f"only {', '.join(known)} can be built"
        )
    config_class, model_class = known[family]
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
    """Load a pretrained causal language model as float32.

    By default `from_pretrained` keeps a checkpoint's fp16, which the gradient scaler cannot unscale.

    Args:
        source: local folder or hub id.

    Returns:
        The model, in float32 on the CPU.

    Raises:
        ModelError: it cannot be loaded.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    if (Path(source) / "config.json").is_file():
        check_layer_count(load_config(ModelSpec(name=source, source=source), vocab_size=0), f"model {source}")
    try:
        return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)  # type: ignore[no-any-return]
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(
            f"model {source}",
            found=str(error).strip().splitlines()[0],
            hint="give a local folder saved by save_pretrained, or a hub id that this machine can reach",
        ) from error


def compute_weights_fingerprint(model: ModelSpec) -> str:
    """Identify the initial weights of a model.

    Args:
        model: pretrained, or built from a config.

    Returns:
        `config:` or `files:` and a SHA-256 of the config they are drawn from or of the files of a local folder; or
        `hub:`, the hub id and the commit in the local cache (`unpinned` if it is not cached yet).

    Raises:
        ModelError: a local folder that is missing or has no weights.

    Example:
        >>> from sweeper.config import load_model_spec
        >>> compute_weights_fingerprint(load_model_spec("opt-tiny-32")).partition(":")[0]
        'config'
    """
    if model.config is not None:
        text = json.dumps(model.config, sort_keys=True)
        return "config:" + hashlib.sha256(text.encode()).hexdigest()
    source = Path(str(model.source))
    if source.is_dir():
        return "files:" + _hash_files(source)
    if source.is_absolute() or str(model.source).startswith("."):
        raise ModelError(f"model {model.name}", requested=f"source: {source}", found="no such folder")
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

    cached = try_to_load_from_cache(name, "config.json")
    commit = Path(cached).parent.name if isinstance(cached, str) else "unpinned"
    return f"hub:{name}@{commit}"
