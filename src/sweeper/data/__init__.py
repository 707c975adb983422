"""Raw answers -> conversations -> tokens, once per (data, tokenizer, length policy), shared by every trial."""

from sweeper.data.contamination import audit_contamination
from sweeper.data.conversations import ApiList, Conversation, ReaderCounts, Turn
from sweeper.data.export import export_toolllama
from sweeper.data.length_policies.base import Prompt
from sweeper.data.length_report import report_lengths
from sweeper.data.manifest import DataManifest, DataSize
from sweeper.data.prepare import (
    PreparedData,
    describe_prepared_data,
    fingerprint_data,
    open_prepared_data,
    prepare_data,
    read_data_manifest,
)
from sweeper.data.readers.base import FractionReporter
from sweeper.data.readers.toolbench import add_format_instruction
from sweeper.data.test_queries import Suite, open_suite, read_suite
from sweeper.data.tokenize import make_length_limiter
from sweeper.data.tokenizer import load_tokenizer, train_tokenizer

__all__ = [
    "ApiList",
    "Conversation",
    "DataManifest",
    "DataSize",
    "FractionReporter",
    "PreparedData",
    "Prompt",
    "ReaderCounts",
    "Suite",
    "Turn",
    "add_format_instruction",
    "audit_contamination",
    "describe_prepared_data",
    "export_toolllama",
    "fingerprint_data",
    "load_tokenizer",
    "make_length_limiter",
    "open_prepared_data",
    "open_suite",
    "prepare_data",
    "read_data_manifest",
    "read_suite",
    "report_lengths",
    "train_tokenizer",
]
