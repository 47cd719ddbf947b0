# Every target runs in a virtual environment, which is made from the hashed lock when it is missing or out of date.
# VENV= sets its folder, PYTHON= the interpreter (3.11 or newer), ARGS= is passed on (make test ARGS="-k limit").

VENV ?= .venv
PY = "$(VENV)/bin/python"
ARGS ?=
JOBS ?= auto
export VENV PYTHON
export PYTHONNOUSERSITE = 1
unexport PYTHONPATH PYTHONHOME

.PHONY: help demo wheel test stress check coverage bench bench-log bench-recording format lock clean

help:
	@echo "make demo    backtest examples/sma_cross.py on real prices and write reports/demo.html"
	@echo "make wheel   build dist/weaver_trading-VERSION-py3-none-any.whl"
	@echo "make test    run the tests                     (ARGS=\"-k limit\" is passed to pytest)"
	@echo "make stress  stress the event log for WEAVER_STRESS=60 seconds, with deliberately wrong readers as a control"
	@echo "make check   check style, types and layers     (make format fixes formatting)"
	@echo "make coverage  require branch coverage: 98 % of core and clocks, 90 % of log and store"
	@echo "make bench   measure speed, with other backtesters in the same run"
	@echo "make bench-recording  measure the cost of recording a run"
	@echo "make bench-log  measure the event log, with other libraries on the same PostgreSQL"
	@echo "make lock    update the lock files from pyproject.toml"
	@echo "make clean   remove all files that make created"

demo:
	@scripts/setup demo
	@$(PY) -m weaver backtest examples/sma_cross.py --data demo:AAPL --commission 0.001 --report reports/demo.html $(ARGS)

wheel:
	@scripts/setup demo
	@$(PY) -m hatchling build -t wheel

test:
	@scripts/setup test
	@$(PY) -m pytest -n $(JOBS) --dist worksteal $(ARGS)

stress:
	@scripts/setup test
	@WEAVER_STRESS=$${WEAVER_STRESS:-60} $(PY) -m pytest -q -s -p no:randomly tests/integration/test_stress.py $(ARGS)

check:
	@scripts/setup test
	@scripts/check "$(VENV)"

coverage:
	@scripts/setup test
	@$(PY) -m pytest -q -n $(JOBS) --dist worksteal tests/unit --cov-branch \
		--cov=weaver.core --cov=weaver.glados.clock --cov-report=term-missing:skip-covered --cov-fail-under=98 $(ARGS)
	@$(PY) -m pytest -q -n $(JOBS) --dist worksteal --cov-branch -m log \
		--cov=src/weaver/events --cov=src/weaver/walle --cov-report=term-missing:skip-covered --cov-fail-under=90 $(ARGS)

bench:
	@scripts/setup test
	@$(PY) benchmarks/run.py $(ARGS)

bench-recording:
	@scripts/setup test
	@$(PY) benchmarks/recording.py $(ARGS)

bench-log:
	@scripts/setup test
	@$(PY) benchmarks/event_log/benchmark.py $(ARGS)

format:
	@scripts/setup test
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

lock:
	@scripts/lock

clean:
	rm -rf "$(VENV)" "$(VENV).lock" reports dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
