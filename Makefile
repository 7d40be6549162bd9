# Two commands need nothing else on a machine with Python 3.11: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# The CPU build, by exact version and before anything that depends on it; see CONTRIBUTING.md.
TORCH := torch==2.13.0

.PHONY: demo test test-vllm lint format bench audit clean

demo: $(VENV)/.installed
	RAY_BACKEND_LOG_LEVEL=fatal $(BIN)/python jobs/demo.py

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --no-loadscope-reorder

# vLLM for CPUs, in an environment of its own (5 GB): it wants another transformers than the
# constraints here, and an unusual way of installing, which the script explains.
test-vllm: $(VENV)-vllm/.installed
	$(VENV)-vllm/bin/python -m pytest tests/vllm tests/unit/hired_core/backends/test_vllm_plan.py

$(VENV)-vllm/.installed: tests/vllm/environment.py pyproject.toml
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/pip install --quiet $(TORCH)
	$(VENV)-vllm/bin/python -m tests.vllm.environment
	@touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed
	$(BIN)/python jobs/benchmark.py --num-images 64 --max-new-tokens 32

# Needs the network: known vulnerabilities are asked of pypi.org. Without it pip-audit finds nothing
# and would succeed, hence --strict. In an environment of its own: its two dozen dependencies are
# not the project's.
audit:
	@$(PYTHON) -m venv $(VENV)-audit
	@$(VENV)-audit/bin/pip install --quiet 'pip-audit>=2.10,<3'
	$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-audit $(VENV)-vllm out .pytest_cache .mypy_cache .ruff_cache *.egg-info

# A machine whose Python has torch already (a GPU machine) keeps it.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@if $(PYTHON) -c 'import torch' 2>/dev/null; then \
		$(PYTHON) -m venv --system-site-packages $(VENV); \
	else \
		$(PYTHON) -m venv $(VENV) && $(BIN)/pip install --quiet $(TORCH); \
	fi

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
