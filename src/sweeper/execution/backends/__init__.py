"""Backends, which run trials. A backend is one file here that defines `open_backend`; `--backend` takes its name."""
