"""Tasks that read text and write none: labels, spans, vectors."""
