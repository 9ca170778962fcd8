"""Tasks that hear or speak."""
