# The environments. The operator never sees torch, the runtime never sees kopf, the older clients neither.
UV ?= uv
PYTHON ?= python3.11
OPERATOR_ENV := .venv/operator
RUNTIME_ENV  := .venv/runtime
CLIENTS_ENV  := .venv/clients
BENCH_ENV    := .venv/bench

.PHONY: env env-operator env-runtime env-clients env-bench lock
env: env-operator env-runtime env-clients ## the Python environments, from the hash-locked files

env-operator: $(OPERATOR_ENV)/.done ## the operator's environment (kopf, no torch)
env-runtime: $(RUNTIME_ENV)/.done   ## the runtime's environment (torch, no kopf)
env-clients: $(CLIENTS_ENV)/.done   ## older clients, which want other versions of what the runtime has
env-bench: $(BENCH_ENV)/.done       ## other people's servers, the yardsticks of `make bench-runtime`

$(BENCH_ENV)/.done: requirements/bench-dev.txt
$(CLIENTS_ENV)/.done: requirements/clients-dev.txt
$(OPERATOR_ENV)/.done: requirements/operator-dev.txt
$(RUNTIME_ENV)/.done: requirements/runtime-dev.txt
.venv/%/.done: pyproject.toml
	@hack/make-env $* $(PYTHON)

LOCK = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header pyproject.toml
lock: ## write the requirement files anew from pyproject.toml
	$(LOCK) --extra operator                              -o requirements/operator.txt
	$(LOCK) --extra operator --extra dev -c requirements/operator.txt -o requirements/operator-dev.txt
	$(LOCK) --extra serve --extra diffusers               -o requirements/runtime.txt
	$(LOCK) --extra serve --extra diffusers --extra dev --extra clients -c requirements/runtime.txt -o requirements/runtime-dev.txt
	$(LOCK) --extra text-generation                       -o requirements/clients-dev.txt
	$(LOCK) --extra bench -c requirements/runtime.txt     -o requirements/bench-dev.txt
