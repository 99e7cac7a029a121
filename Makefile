# Everything a newcomer needs: `make run` and `make test` set up their environment themselves.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export RAY_USAGE_STATS_ENABLED := 0

.PHONY: run study test check format docs gpu-check clean

run: $(READY)
	$(BIN)/tuner run --space periodic_T
	@echo "Here \`tuner\` is $(BIN)/tuner; to type it as above: . $(BIN)/activate"

study: $(READY)
	$(BIN)/tuner study quick || [ $$? -eq 3 ]  # 3: done, though some trials failed
	$(BIN)/tuner report quick -o runs/quick/report.html
	@if [ "$$(uname)" = Darwin ] || [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		$(BIN)/python -m webbrowser "file://$(CURDIR)/runs/quick/report.html"; fi

# Two processes share the test files; JOBS=0 runs them one after another in one.
test: $(READY)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python -m tuner.docs

gpu-check: $(READY)
	$(BIN)/python -m benchmarks.gpu_check $(if $(DATA),--data $(DATA))

clean:
	rm -rf $(VENV)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3 …"; exit 1; }
	@echo "Setting up $(VENV): about 3 minutes and 6 GB, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)
