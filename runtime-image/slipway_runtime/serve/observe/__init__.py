"""What is told of requests: metrics, access log, traces. Never bodies, tokens or prompts."""
