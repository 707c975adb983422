"""The names of axes as people read them, in one table."""

from __future__ import annotations

_LABELS = {
    "num_train_epochs": ("epochs", "epochs"),
    "learning_rate": ("learning rate", "lr"),
    "max_grad_norm": ("clip", "clip"),
}
"""Axis -> its label in text, and the short one for narrow columns. Other axes: their name with spaces."""


def get_axis_label(axis: str, *, short: bool = False) -> str:
    """Return the label of an axis.

    Args:
        axis: name of the axis, as in a sweep file.
        short: return the label for a narrow column.

    Returns:
        The label.

    Example:
        >>> get_axis_label("learning_rate"), get_axis_label("learning_rate", short=True), get_axis_label("weight_decay")
        ('learning rate', 'lr', 'weight decay')
    """
    return _LABELS.get(axis, (axis.replace("_", " "),) * 2)[short]


def format_axis_value(value: object) -> str:
    """Format a value of an axis; None and NaN are `off`.

    Args:
        value: the value, as in a sweep file.

    Returns:
        The text.

    Example:
        >>> format_axis_value(1e-05), format_axis_value(None), format_axis_value("opt-125m")
        ('1e-05', 'off', 'opt-125m')
    """
    if value is None or value != value:
        return "off"
    return f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def format_arm_name(axis: str, value: object) -> str:
    """Name the arm that an axis has at one value: `opt-125m`, `3 epochs`, `clip off`, `learning rate 0.01`."""
    text = format_axis_value(value)
    if axis == "model":
        return str(value)
    if axis == "num_train_epochs":
        return f"{text} epoch" if text == "1" else f"{text} epochs"
    return f"{get_axis_label(axis)} {text}"
