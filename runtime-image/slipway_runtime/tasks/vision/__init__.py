"""Tasks that see."""
