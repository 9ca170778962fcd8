# Tests and checks. `make test` sets up what is missing and runs everything; a cluster that it started it stops.
OPERATOR_TYPED := operator/slipway_operator hack tests/unit tests/golden tests/contract tests/apiserver tests/cluster tests/support/apiserver.py bench/operator
RUNTIME_TYPED  := runtime-image/slipway_runtime tests/runtime tests/e2e bench/runtime bench/soak \
	tests/support/models.py tests/support/hub_mirror.py tests/support/runtime_server.py

.PHONY: test faults-full lint format
test: lint cluster-tools minilm ## every check and every test, with the counts of each tier
	@python3 hack/tests

test-%: env cluster-tools minilm ## one tier: test-unit test-golden test-contract test-runtime test-apiserver test-e2e test-cluster
	@python3 hack/tests $*

faults-full: env cluster-tools minilm ## the faults that `make test` leaves out, or tries with a sample, because they take long
	$(RUNTIME_ENV)/bin/pytest tests/runtime -m full --durations=0
	$(OPERATOR_ENV)/bin/pytest tests/cluster -m full --durations=0

lint: env ## style, types, layers
	$(OPERATOR_ENV)/bin/ruff check
	$(OPERATOR_ENV)/bin/ruff format --check
	$(OPERATOR_ENV)/bin/mypy $(OPERATOR_TYPED)
	$(RUNTIME_ENV)/bin/mypy $(RUNTIME_TYPED)
	$(OPERATOR_ENV)/bin/lint-imports

format: env-operator ## put the code into shape
	$(OPERATOR_ENV)/bin/ruff check --fix
	$(OPERATOR_ENV)/bin/ruff format
