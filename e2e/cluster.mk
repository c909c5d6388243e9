# A real cluster on one machine; see docs/development.md. THUNDERHEAD_CLUSTER=name works with another one beside it.
.PHONY: cluster-up cluster-down e2e bench-operator

cluster-up: setup ## a real Kubernetes of three nodes, S3 and Prometheus on this machine
	$(BIN)/python -m e2e.cluster up

cluster-down: ## end it and leave nothing behind
	$(BIN)/python -m e2e.cluster down

e2e: setup ## install Thunderhead on a real cluster and test it there
	@mkdir -p $(REPORTS)
	$(BIN)/python -m pytest e2e --junitxml=$(REPORTS)/e2e.xml $(E2E_ARGS)

bench-operator: setup ## figures of the operator on a real cluster
	$(BIN)/python -m pytest e2e/test_figures.py $(E2E_ARGS)
