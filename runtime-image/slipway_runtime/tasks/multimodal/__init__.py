"""Tasks that join images and text."""
