"""How each kind of claim is decided: evidence, comparisons, protocols. `sweeper.statistics.verdicts` is the door."""
