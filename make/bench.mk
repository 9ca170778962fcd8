# Benchmarks. Not part of `make test`: figures of a busy machine mean little.
.PHONY: bench
bench: env-operator cluster-tools ## figures of the operator beside yardsticks, into bench/operator/RESULTS.md; ONLY=restart prints one
	@$(OPERATOR_ENV)/bin/python -m bench.operator $(ONLY)

.PHONY: soak
SECONDS ?= 3600
RATE    ?= 8
soak: env-runtime ## mixed callers on several servers for an hour, into bench/soak/RESULTS.md; fails where something grew
	@$(RUNTIME_ENV)/bin/python -m bench.soak --seconds $(SECONDS) --rate $(RATE) $(if $(COMMIT),--commit $(COMMIT))
