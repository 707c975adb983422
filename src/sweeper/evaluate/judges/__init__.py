"""Judges: who decides whether an answer solved its query."""
