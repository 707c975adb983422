"""A study on Ray: Tune for what starts when, Train for several workers, an actor for a search."""
