# The two images, tagged by their content and pushed to SLIPWAY_REGISTRY (default: the local cluster's registry).
# Names and tags are written to .cache/images.env.
.PHONY: images
images: ## build and push the operator's and the runtime's images, as far as they have changed
	@python3 hack/cluster images
