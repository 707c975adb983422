"""Trials on a Ray cluster: Tune runs them, Train starts the workers of a multi-worker trial."""
