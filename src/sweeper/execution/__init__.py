"""Run a plan on a backend."""
