# Benchmarks. Not part of `make test`: figures of a busy machine mean little.
.PHONY: bench bench-runtime
bench: env-operator cluster-tools ## figures of the operator beside yardsticks, into bench/operator/RESULTS.md; ONLY=restart prints one
	@$(OPERATOR_ENV)/bin/python -m bench.operator $(ONLY)

bench-runtime: env-runtime env-bench minilm ## figures of the runtime beside other servers, into bench/runtime/RESULTS.md; ONLY=classification prints one
	@$(RUNTIME_ENV)/bin/python -m bench.runtime $(ONLY)

.PHONY: soak
SECONDS ?= 3600
RATE    ?= 8
soak: env-runtime ## mixed callers on several servers for an hour, into bench/soak/RESULTS.md; fails where something grew
	@$(RUNTIME_ENV)/bin/python -m bench.soak --seconds $(SECONDS) --rate $(RATE) $(if $(COMMIT),--commit $(COMMIT))
