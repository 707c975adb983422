"""Raw answers -> conversations -> tokens, once per (data, tokeniser, policy), shared by every trial."""

from sweeper.data.conversations import ApiList, Conversation, Counts, Turn
from sweeper.data.encode import fitter
from sweeper.data.export import export_toolllama
from sweeper.data.inspect import inspect
from sweeper.data.leakage import audit
from sweeper.data.prepare import Prepared, describe, fingerprint, open_prepared, prepare, prepared_manifest
from sweeper.data.queries import Suite, open_suite, read_suite
from sweeper.data.read_answers import with_format
from sweeper.data.source import Tell
from sweeper.data.tokenizer import load_tokenizer, train_tokenizer

__all__ = [
    "ApiList",
    "Conversation",
    "Counts",
    "Prepared",
    "Suite",
    "Tell",
    "Turn",
    "audit",
    "describe",
    "export_toolllama",
    "fingerprint",
    "fitter",
    "inspect",
    "load_tokenizer",
    "open_prepared",
    "open_suite",
    "prepare",
    "prepared_manifest",
    "read_suite",
    "train_tokenizer",
    "with_format",
]
