# `make run` watches the whole job being done, `make test` runs the tests, `make bench` measures what the bridge costs,
# `make load` what it bears, `make soak` looks for what it leaves behind, `make simulate` is 10,000 bad days,
# `make bad-inputs` 100,000 bad inputs; each sets up what it needs, once.
bin = $(if $(filter Windows_NT,$(OS)),.venv/Scripts,.venv/bin)
setup = pyproject.toml .ci/constraints.txt .ci/setup

.PHONY: run test bench load soak simulate bad-inputs lint
run: .venv/.run
	@$(bin)/mcp-responses-bridge demo $(ARGS)

test: .venv/.dev
	@$(bin)/python -m pytest $(ARGS)

bench: .venv/.dev
	@$(bin)/python -m tests.bench.run $(ARGS)

load: .venv/.dev
	@$(bin)/python -m tests.bench.load $(ARGS)

soak: .venv/.dev
	@$(bin)/python -m tests.soak $(ARGS)

simulate: .venv/.dev
	@$(bin)/python -m tests.fakes.simulation $(or $(ARGS),10000)

bad-inputs: .venv/.dev
	@$(bin)/python -m tests.bad_inputs.run $(ARGS)

lint: .venv/.dev
	@$(bin)/ruff check . && $(bin)/ruff format --check . && $(bin)/pyrefly check --python-interpreter-path $(bin)/python

.venv/.run: $(setup)
	@sh .ci/setup . && touch $@

.venv/.dev: $(setup)
	@sh .ci/setup '.[dev]' && touch $@ .venv/.run
