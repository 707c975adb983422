"""Plans of sweeps: trials, their cost, and the hardware they need. Starts nothing."""
