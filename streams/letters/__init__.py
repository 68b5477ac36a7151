"""Dead letters: what stands on them, reading them, and putting them back."""
