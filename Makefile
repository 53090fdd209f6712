# `make run` watches the whole job being done, `make test` runs the tests; each sets up what it needs.
ready = .venv/.ready
bin = $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)

.PHONY: run test lint
run: $(ready)
	@$(bin)/mcp-responses-bridge demo $(ARGS)

test: $(ready)
	@$(bin)/python -m pytest $(ARGS)

lint: $(ready)
	@$(bin)/ruff check . && $(bin)/ruff format --check . && $(bin)/pyrefly check --python-interpreter-path $(bin)/python

$(ready): pyproject.toml .ci/constraints.txt .ci/setup
	@sh .ci/setup
	@touch $@
