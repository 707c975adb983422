"""What trials cost: predicted, measured, and held to a budget."""
