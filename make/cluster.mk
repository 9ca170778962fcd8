# The local Kubernetes cluster. Written in Python (standard library only), so that it needs no environment to be made first.
# Where SLIPWAY_KUBECONFIG names a cluster of yours, these targets refuse to touch it.
CLUSTER := python3 hack/cluster

.PHONY: cluster-up cluster-down cluster-status cluster-metrics cluster-purge cluster-tools
cluster-up: ## start a real local Kubernetes, or repair the one that runs
	@$(CLUSTER) up

cluster-down: ## stop it and leave the machine as it was (built programs and images stay cached)
	@$(CLUSTER) down

cluster-status: ## what of the cluster runs
	@$(CLUSTER) status

cluster-metrics: ## add metrics-server to the running cluster (kubectl top, autoscaling)
	@$(CLUSTER) metrics

cluster-purge: ## stop the cluster and remove its caches too
	@$(CLUSTER) purge

cluster-tools: ## build kubectl, helm, etcd, kube-apiserver, an S3 server for tests into .cache/bin; starts nothing
	@$(CLUSTER) tools
