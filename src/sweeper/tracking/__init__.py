"""W&B as a mirror of the store: written to, never read back. Offline unless the user has set WANDB_MODE."""

from sweeper.tracking.wandb_mirror import Tracker, Tracking

__all__ = ["Tracker", "Tracking"]
