"""A real Kubernetes on one Linux machine, as processes, from pinned sources."""
