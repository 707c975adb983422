"""`truncate` keeps the first tokens, as TRL does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tool_conversations import get_tokenizer, last_turn, make_limiter, make_long_conversation


def test_truncate_drops_an_example_whose_whole_target_is_cut() -> None:
    conversation = make_long_conversation()
    assert make_limiter("truncate", 100).make_row(conversation, last_turn(conversation)) == "target-cut-away"


@pytest.mark.slow
def test_truncate_equals_trl_truncation(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from sweeper.config import ModelSpec
    from sweeper.models import build_model

    sizes = {"hidden_size": 16, "ffn_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = build_model(ModelSpec(name="t", config=sizes | {"word_embed_proj_dim": 16}), get_tokenizer(), 0)
    conversations = [replace(make_long_conversation(apis), id=f"{apis}") for apis in (0, 1, 2)]
    whole = [make_limiter("strict", 10**6).make_row(c, last_turn(c)) for c in conversations]
    limit = len(whole[1].input_ids) - 3  # the first fits, the second loses a part of its target, the third all of it
    rows = [{"input_ids": row.input_ids.tolist(), "labels": row.labels.tolist()} for row in whole]
    config = SFTConfig(
        output_dir=str(tmp_path), max_length=limit, report_to="none", use_cpu=True, bf16=False, disable_tqdm=True
    )
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=get_tokenizer()
    )
    own_rows = [make_limiter("truncate", limit).make_row(c, last_turn(c)) for c in conversations]
    assert own_rows[2] == "target-cut-away"
    assert [row.is_target_cut for row in own_rows[:2]] == [False, True]
    trl_rows = [(row["input_ids"], row["labels"]) for row in trainer.train_dataset]
    assert [(row.input_ids.tolist(), row.labels.tolist()) for row in own_rows[:2]] == trl_rows
