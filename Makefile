# Two commands: `make demo` and `make test`. Both install first; installing again is a no-op.
PYTHON ?= python3.11
ENV := .venv
INSTALLED := $(ENV)/.installed

.PHONY: demo test
demo: $(INSTALLED)
	$(ENV)/bin/python pipelines/drsl.py

test: $(INSTALLED)
	$(ENV)/bin/ruff check .
	$(ENV)/bin/ruff format --check .
	$(ENV)/bin/basedpyright
	$(ENV)/bin/python -m pytest

# The constraints pin every package, so that what was tested is what is installed. No cache is left in the home folder.
$(INSTALLED): pyproject.toml constraints.txt
	test -x $(ENV)/bin/python || $(PYTHON) -m venv $(ENV)
	$(ENV)/bin/pip install --quiet --no-cache-dir --disable-pip-version-check -c constraints.txt "setuptools>=77"
	$(ENV)/bin/pip install --quiet --no-cache-dir --disable-pip-version-check -c constraints.txt \
		--no-build-isolation --editable ".[dev]"
	touch $@
