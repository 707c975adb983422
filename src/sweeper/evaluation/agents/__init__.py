"""Agents: a local checkpoint, or a model behind an OpenAI-compatible endpoint."""
