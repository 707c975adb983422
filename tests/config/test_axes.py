from __future__ import annotations

import math

from sweeper.config.axes import format_arm_name, format_axis_value, get_axis_label


def test_axis_labels_are_the_same_everywhere() -> None:
    axes = ("num_train_epochs", "learning_rate", "max_grad_norm", "weight_decay", "seed")
    assert [get_axis_label(axis) for axis in axes] == ["epochs", "learning rate", "clip", "weight decay", "seed"]
    assert [get_axis_label(axis, short=True) for axis in axes] == ["epochs", "lr", "clip", "weight decay", "seed"]


def test_axis_values_are_off_where_undefined() -> None:
    assert [format_axis_value(value) for value in (None, math.nan, 0.0, 1e-5, 3, True, "zero2")] == [
        *("off", "off", "0", "1e-05", "3", "True", "zero2")
    ]


def test_arm_names_read_as_text() -> None:
    assert format_arm_name("model", "opt-125m") == "opt-125m"
    assert [format_arm_name("num_train_epochs", n) for n in (1, 3.0)] == ["1 epoch", "3 epochs"]
    assert format_arm_name("max_grad_norm", None) == "clip off"
    assert format_arm_name("learning_rate", 0.01) == "learning rate 0.01"
