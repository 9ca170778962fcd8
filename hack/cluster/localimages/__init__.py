"""Building and pushing the operator's and the runtime's images."""
