# make run    installs what is missing and answers the sample tickets
# make report shows the run of the sample as a page, out/report.html
# make test   installs what is missing and runs the tests
# make check  the tests, then the linters and the types, as CI does

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run report test check

run: .venv/installed
	$(BIN)/python run.py --train data/train.jsonl --val data/val.jsonl --weights out --output out/results.json
	@echo "A larger base knows intents better and takes longer: run.py --base-model qwen2.5-coder-1.5b (docs/machines.md)"

report: .venv/installed-dev
	test -f out/results.json || $(MAKE) run
	$(BIN)/python -m evaluation.report --weights out --results out/results.json --labels data/val_labels.jsonl --output out/report.html

test: .venv/installed-dev
	$(BIN)/python -m pytest

check: test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/installed: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@
