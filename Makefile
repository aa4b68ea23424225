# make demo: the whole way on synthetic volumes. make test: the tests. Both install into .venv first.
PYTHON ?= python3.11
VENV := .venv
INSTALLED := $(VENV)/installed

.PHONY: demo test test-kills test-cluster test-gpu lint

demo: $(INSTALLED)
	$(VENV)/bin/snakemake --profile profiles/local --configfile config/demo.yaml

test: $(INSTALLED)
	$(VENV)/bin/pytest --numprocesses 2 --dist loadfile --ignore tests/workflow --ignore tests/cluster
	$(VENV)/bin/pytest tests/workflow tests/cluster

# A hundred kills, and a disk that is full at any place, where `make test` has a few of each; about an hour.
test-kills: $(INSTALLED)
	TEST_KILLS=100 TEST_FULL_DISK_KB="$$(seq -s' ' 20 200 5420)" $(VENV)/bin/pytest -s tests/workflow/test_kills.py tests/workflow/test_full_disk.py

# On a Slurm of two nodes that the tests start here, by root, with Debian's slurm-wlm and munge (and slurmdbd with
# mariadb-server for accounting); `make test` has the short ones.
test-cluster: $(INSTALLED)
	REQUIRE_CLUSTER=1 TEST_CLUSTER_LONG=1 $(VENV)/bin/pytest -s tests/cluster

# On a machine with a GPU, and torch for it.
test-gpu: $(INSTALLED)
	TEST_GPU=1 $(VENV)/bin/pytest -m gpu tests

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy pipeline_lib
	$(VENV)/bin/snakefmt --check workflow
	$(VENV)/bin/snakemake --lint --configfile config/demo.yaml

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet -r requirements.lock
	$(VENV)/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@
