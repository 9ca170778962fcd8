"""A request's texts, images or prompts through queue, batches and model, and back. Knows no protocol."""
