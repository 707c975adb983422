"""Tables of a study, read from the records in the store."""
