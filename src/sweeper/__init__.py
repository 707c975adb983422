"""sweeper: sweeps over fine-tuned small language models that end in verdicts with intervals."""

__version__ = "0.1.0"
