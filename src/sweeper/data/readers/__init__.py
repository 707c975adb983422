"""Formats of training data. Each is one file that defines `READER` and `FORMAT`.

To add one, write `readers/NAME.py` with `READER`, a `DataReader`, and the literal `FORMAT`: the `kind` that its sources
have in manifests, and a `description` of a few words for messages and reports. Nothing else has to change.
"""
