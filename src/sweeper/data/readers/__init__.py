"""One reader for each format of training data."""
