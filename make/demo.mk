.PHONY: demo
demo: ## everything from a fresh machine to a served model that answers, pauses and resumes
	@PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m hack.demo
