# The API and the chart.
CRDS := $(wildcard crds/*.yaml)

.PHONY: crds chart chart-lint
crds: env-operator cluster-tools ## fill Kubernetes' own types into crds/ from a real API server, and copy them into the chart
	@$(OPERATOR_ENV)/bin/python hack/crds/fill.py
	@$(MAKE) --no-print-directory chart

chart: ## copy the CRDs into the chart
	@rm -rf helm/slipway/crds
	@mkdir helm/slipway/crds
	@cp $(CRDS) helm/slipway/crds/

chart-lint: cluster-tools ## what helm says about the chart
	@.cache/bin/helm lint --strict --kube-version 1.34 helm/slipway
