# Benchmarks. Not part of `make test`: figures of a busy machine mean little.
.PHONY: bench
bench: env-operator cluster-tools ## figures of the operator beside yardsticks, into bench/operator/RESULTS.md; ONLY=restart prints one
	@$(OPERATOR_ENV)/bin/python -m bench.operator $(ONLY)
