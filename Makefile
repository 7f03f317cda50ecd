# make run [BASE=auto]   installs what is missing and answers the sample tickets, with the small base or the best for the machine
# make report shows the run of the sample as a page, out/report.html
# make test   installs what is missing and runs the tests
# make bench  measures this program beside TRL and SetFit, in an environment of its own: docs/bench.md
# make submission [BASE=...] [REMOTE=...]   builds dist/repo.zip, what is handed in; docs/submission.md
# make check  the tests, then the linters and the types, as CI does
# make lock   resolves requirements.txt again, into the files from which make run installs

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --no-deps --require-hashes --requirement

# DATA=folder of public sets with replies: every round draws 30 rows and 50 tickets of Bitext; else the sample's 30 and 10
BENCH_SAMPLE := --train data/train.jsonl --val data/val.jsonl --labels data/val_labels.jsonl
BENCH_DRAWN = --folds $(DATA)/bitext_train_10.jsonl $(DATA)/bitext_test.jsonl --intents 15 --tests 50
BENCH = .venv-bench/bin/python -m evaluation.benchmarks.bench $(if $(DATA),$(BENCH_DRAWN),$(BENCH_SAMPLE))

.PHONY: run report test bench submission check lock

run: BASE ?= smollm2-135m
run: .venv/installed
	$(BIN)/python run.py --train data/train.jsonl --val data/val.jsonl --weights out --output out/results.json --base-model $(BASE)
	@test $(BASE) = auto || echo "That was the base $(BASE). make run BASE=auto takes the best for this machine (docs/machines.md)"

report: .venv/installed-dev
	test -f out/results.json || $(MAKE) run
	$(BIN)/python -m evaluation.report --weights out --results out/results.json --labels data/val_labels.jsonl --output out/report.html

test: .venv/installed-dev
	$(BIN)/python -m pytest

bench: .venv-bench/installed
	mkdir -p out
	$(BENCH) --jsonl out/bench.jsonl --docs docs $(BENCH_OPTIONS)

submission: .venv/installed
	$(BIN)/python -m evaluation.submission.build --output dist/repo.zip \
	  $(if $(BASE),--default "base-model=$(BASE)") $(if $(REMOTE),--default "remote-model=$(REMOTE)")

check: test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock:
	test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv==0.13.9; }
	.venv-lock/bin/python .ci/lock.py $(LOCK_OPTIONS)

# torch: the CPU build where pip finds one, else that of the default index.
.venv/installed: requirements.lock requirements-cpu.lock requirements-cuda.lock
	$(PYTHON) -m venv .venv
	$(INSTALL) requirements.lock
	$(INSTALL) requirements-cpu.lock 2> /dev/null || $(INSTALL) requirements-cuda.lock
	$(BIN)/pip check
	touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(BIN)/pip install --quiet --requirement requirements-dev.txt
	touch $@

.venv-bench/installed: requirements-bench.txt requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --requirement requirements-bench.txt
	touch $@
