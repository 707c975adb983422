"""Which trial starts where and when. Pure: no Ray, no files."""
