# The two environments. The operator never sees torch, the runtime never sees kopf.
UV ?= uv
PYTHON ?= python3.11
OPERATOR_ENV := .venv/operator
RUNTIME_ENV  := .venv/runtime

.PHONY: env env-operator env-runtime lock
env: env-operator env-runtime ## both Python environments, from the hash-locked files

env-operator: $(OPERATOR_ENV)/.done ## the operator's environment (kopf, no torch)
env-runtime: $(RUNTIME_ENV)/.done   ## the runtime's environment (torch, no kopf)

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
