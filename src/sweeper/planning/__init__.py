"""Sweep -> plan: trials, their cost, the hardware they need. Starts nothing."""
