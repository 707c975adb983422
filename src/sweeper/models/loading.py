"""Loading models from disk or the hub, and building them from a config and a seed. Weights are always float32."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper.config import ModelSpec
from sweeper.errors import ModelError, is_out_of_memory
from sweeper.models.architecture import DEFAULT_FAMILY, check_layer_count
from sweeper.models.known_configs import load_config
from sweeper.storage import JsonTextError, parse_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_LISTED_TENSORS = 3
_WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "config.json", "adapter_config.json")
_GENERATION_TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


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

    By default `from_pretrained` keeps a checkpoint's fp16, which the gradient scaler cannot unscale. Of a checkpoint's
    `generation_config.json` only the special tokens are kept: a base model's repetition penalty or temperature would be
    saved with its fine-tuned child, and decide how that one answers.

    Args:
        source: local folder or hub id.

    Returns:
        The model, in float32 on the CPU.

    Raises:
        ModelError: it cannot be loaded.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    if (Path(source) / "config.json").is_file():
        check_layer_count(load_config(ModelSpec(name=source, source=source), vocab_size=0), f"model {source}")
    try:
        # Tensors of another shape are refused below, with their names.
        model, info = AutoModelForCausalLM.from_pretrained(
            source,
            revision=find_hub_commit(source) or "main",
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # a file of another program can break any part of the loader
        if is_out_of_memory(error):
            raise
        lines = str(error).strip().splitlines()
        raise ModelError(
            f"model {source}",
            found=f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__,
            hint="give a local folder saved by save_pretrained, or a hub id that this machine can reach",
        ) from error
    _check_tensors(source, info)
    own = model.generation_config
    model.generation_config = GenerationConfig(**{name: getattr(own, name, None) for name in _GENERATION_TOKENS})
    return model  # type: ignore[no-any-return]


def list_nonfinite_weights(model: PreTrainedModel) -> list[str]:
    """List the parameters of a model that have a NaN or an infinite element.

    Args:
        model: the model.

    Returns:
        Their names.

    Example:
        >>> import torch
        >>> list_nonfinite_weights(torch.nn.Linear(2, 2))
        []
    """
    import torch

    return [name for name, tensor in model.named_parameters() if not bool(torch.isfinite(tensor).all())]


def _check_tensors(source: str, info: Mapping[str, Collection[object]]) -> None:
    """Check that every tensor of a model came from its checkpoint, and every tensor of the checkpoint was used.

    Transformers draws missing tensors at random and only warns. Tied tensors do not count as missing.

    Raises:
        ModelError: tensors are missing, unexpected or of another shape.
    """
    problems = []
    for kind, label in (
        ("missing_keys", "missing"),
        ("unexpected_keys", "unexpected"),
        ("mismatched_keys", "of another shape"),
    ):
        names = sorted(str(name[0] if isinstance(name, tuple) else name) for name in info.get(kind, ()))
        if names:
            shown = ", ".join(names[:MAX_LISTED_TENSORS]) + (", …" if names[MAX_LISTED_TENSORS:] else "")
            problems.append(f"{len(names)} {label} ({shown})")
    if problems:
        raise ModelError(
            f"model {source}",
            requested="every tensor of the model, and no other",
            found="; ".join(problems),
            hint="the checkpoint is damaged, or its config.json belongs to another one",
        )


def compute_weights_fingerprint(model: ModelSpec) -> str:
    """Identify the initial weights of a model.

    Args:
        model: pretrained, or built from a config.

    Returns:
        `config:` or `files:` and a SHA-256 of the config they are drawn from or of the files of a local folder (of an
        adapter, with its base); or
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
    return f"hub:{model.source}@{find_hub_commit(str(model.source)) or 'unpinned'}"


def _hash_files(directory: Path) -> str:
    files = sorted(path for pattern in _WEIGHT_PATTERNS for path in directory.glob(pattern))
    if not any(path.suffix != ".json" for path in files):
        raise ModelError(f"model {directory}", found="no weights (*.safetensors or *.bin)", hint="save_pretrained")
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    if (base := _read_adapter_base(directory)) is not None:
        digest.update(compute_weights_fingerprint(ModelSpec(name=base, source=base)).encode())
    return digest.hexdigest()


def _read_adapter_base(directory: Path) -> str | None:
    """Read which model an adapter of peft changes; None for a whole model.

    Raises:
        ModelError: `adapter_config.json` is damaged, or its base is an adapter too.
    """
    path = directory / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        document = parse_json(path.read_bytes()).value
    except (OSError, JsonTextError) as error:
        raise ModelError(f"model {directory}", requested=path.name, found=str(error)) from error
    base = document.get("base_model_name_or_path") if isinstance(document, dict) else None
    if not isinstance(base, str) or not base or (Path(base) / path.name).exists():
        raise ModelError(
            f"model {directory}",
            requested=f"base_model_name_or_path of {path.name}",
            found=repr(base),
            hint="the folder or hub id of a whole model",
        )
    return base


def find_hub_commit(source: str) -> str | None:
    """Find the commit of a hub model that this machine has in its cache.

    Args:
        source: hub id.

    Returns:
        The commit, which loading then asks for; None where the model is not cached, or is a folder.

    Example:
        >>> find_hub_commit("nobody/no-such-model") is None
        True
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(source, "config.json")
    except HFValidationError:  # a folder
        return None
    return Path(cached).parent.name if isinstance(cached, str) else None
