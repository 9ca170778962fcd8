"""ModelEndpoint: spec → render → plan → status, told in order by reconcile."""
