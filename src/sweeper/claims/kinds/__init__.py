"""Kinds of claims, one per file: its fields, its comparisons, its power before the run, and its words."""
