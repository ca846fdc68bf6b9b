# Two commands for a newcomer: `make demo` and `make test`. Each does its own set-up.
PY := .venv/bin/python
KILLS ?= 500
CUTS ?= 100
SAMPLE ?= 500
SEED ?=
HOME_DIR ?= .

.PHONY: demo test test-slow check bench torture sweep power run clean

.venv/.ready: pyproject.toml tools/setup.sh
	@tools/setup.sh

demo: .venv/.ready  ## the whole story on a stand-in host, in under a minute
	@$(PY) -m comfy_doctor demo

test: .venv/.ready  ## the fast suite, under a minute
	@$(PY) -m pytest -m "not slow" -n 3 --dist worksteal

test-slow: .venv/.ready  ## what takes seconds each: kills, 100,000 rows, whole stories
	@$(PY) -m pytest -m slow -n 3 --dist worksteal

check: .venv/.ready  ## style, types, floors
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

bench: .venv/.ready  ## figures, beside the peers that are installed; SCENARIOS=A,T ROUNDS=5 MEGABYTES=1024 JSON=file QUICK=1
	@$(PY) -m tests.bench $(if $(SCENARIOS),--scenarios $(SCENARIOS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
	  $(if $(MEGABYTES),--megabytes $(MEGABYTES)) $(if $(JSON),--json $(JSON)) $(if $(QUICK),--quick)

torture: .venv/.ready  ## kill -9 and worse; KILLS=500 SEED=7 STAGES=4 (at the same time)
	@$(PY) -m tests.torture --kills $(KILLS) $(if $(SEED),--seed $(SEED)) $(if $(STAGES),--stages $(STAGES))

faults: .venv/.ready  ## every fault of a host: ours beside wget -c and curl -C -
	@$(PY) -m tests.faults

sweep: .venv/.ready  ## SIGKILL and five disk errors at the system calls of one job's life (Linux, strace); SAMPLE=0 is all
	@$(PY) -m tests.torture.sweep --sample $(SAMPLE) $(if $(SEED),--seed $(SEED))

power: .venv/.ready  ## power cuts on a disk in memory (Linux, root); CUTS=100 SEED=7
	@$(PY) -m tests.torture.power --cuts $(CUTS) $(if $(SEED),--seed $(SEED))

run: .venv/.ready  ## a worker for this folder
	@$(PY) -m download_worker run --home $(HOME_DIR)

clean:
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache build dist
