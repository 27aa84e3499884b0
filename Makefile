# Every target makes .venv when it is missing; nothing else is needed but Python >= 3.11.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: demo test matrix slow attack fuzz lint format docs bench clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all,dev]'
	touch $@

demo: $(STAMP)          ## simulate recordings, convert, train, draw: the whole way in minutes
	$(BIN)/eventkit demo

test: $(STAMP)          ## the default suite, in two processes
	$(BIN)/python -m pytest -n 2

matrix: $(STAMP)        ## the tests without torch on every other Python, and on the lowest versions
	$(BIN)/python .ci/matrix.py

slow: $(STAMP)          ## the long tests: kills at random times, every bit flipped
	$(BIN)/python -m pytest -m slow

attack: $(STAMP)        ## what attacks on purpose: kills at every change, every bit flipped
	$(BIN)/python -m pytest -m attack

fuzz: $(STAMP)          ## every reader on damaged files, for SECONDS (900) in all
	$(BIN)/python tests/formats/fuzz.py $(if $(SECONDS),--seconds $(SECONDS))

lint: $(STAMP)          ## formatting, style, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(STAMP)          ## run the code of the pages, build the site
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python docs/pages.py --check
	$(BIN)/python docs/build_site.py

bench: $(STAMP)         ## the numbers of the README; PEERS=path of an environment with the peers
	$(BIN)/python benchmarks/run.py $(if $(PEERS),--peers $(PEERS))

clean:
	rm -rf $(VENV) $(VENV)-* build dist *.egg-info demo
