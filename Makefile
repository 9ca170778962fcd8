# Slipway's task runner. `make help` lists the targets; make/*.mk holds them by topic.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

include $(sort $(wildcard make/*.mk))

.PHONY: help
help: ## this list
	@grep -hE '^[a-z][a-z%-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}'
