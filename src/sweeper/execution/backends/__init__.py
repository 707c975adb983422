"""Backends: `inline` runs trials in this process, `ray` on a Ray cluster."""
