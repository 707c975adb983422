"""Backends, which run trials. A backend is one file here that defines `BACKEND`; `--backend` takes its name."""
