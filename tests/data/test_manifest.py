"""The manifest on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_data import MODEL, WORLD

from sweeper.data import DataManifest, DataSize, prepare_data, read_data_manifest
from sweeper.data.prepare import describe_prepared_data
from sweeper.errors import StoreError
from sweeper.storage import Store


def test_manifest_is_the_same_after_its_file_is_read(tmp_path: Path) -> None:
    prepared = prepare_data(WORLD, MODEL, tmp_path)
    manifest = prepared.manifest
    assert DataManifest.model_validate(json.loads((prepared.directory / "manifest.json").read_text())) == manifest
    assert read_data_manifest(Store(tmp_path), prepared.fingerprint) == manifest
    assert manifest.size == DataSize(20, manifest.tokens.train, manifest.vocab_size)
    assert manifest.examples == manifest.read - sum(manifest.dropped.values())
    assert "20 training rows" in describe_prepared_data(prepared)


def test_another_document_is_refused(tmp_path: Path) -> None:
    prepared = prepare_data(WORLD, MODEL, tmp_path)
    (prepared.directory / "manifest.json").write_text('{"fingerprint": "f"}')
    with pytest.raises(StoreError, match="not a data manifest"):
        read_data_manifest(Store(tmp_path), prepared.fingerprint)
