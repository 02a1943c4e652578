.DEFAULT_GOAL := help
TASK ?= deblur
DATASET ?= photos
ARGS ?=
CHECKPOINT ?= runs/latest/best.ckpt
INPUT ?=
OUTPUT ?= restored
TARGET ?= psnr
RUN_DIR ?= runs/latest
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
RUN := $(VENV)/bin/python -m

define install
@if [ -x $(VENV)/bin/uv ]; then \
  $(VENV)/bin/uv pip install -q --compile-bytecode --python $(VENV)/bin/python -c constraints.txt -e '$(1)'; \
else \
  $(RUN) pip install -q --disable-pip-version-check -c constraints.txt -e '$(1)'; \
fi
endef

.PHONY: help setup train report sweep demo evaluate restore compare schedule pack wheel bench docs test lint format clean

help:  ## show this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  variables: TASK=$(TASK) DATASET=$(DATASET) ARGS=\"key=value …\" CHECKPOINT=$(CHECKPOINT)"
	@echo "             INPUT=FILE_OR_FOLDER OUTPUT=$(OUTPUT) TARGET=$(TARGET) RUN_DIR=$(RUN_DIR)"

setup: $(READY)  ## create .venv and install; other targets do this when needed, with the extras that they use

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11. Run make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check uv || true
	$(call install,.)
	@touch $@

$(VENV)/.installed-%: $(READY)
	$(call install,.[$*])
	@touch $@

train: $(READY) $(if $(filter huggingface,$(DATASET)),$(VENV)/.installed-hf)  ## train a restorer: TASK=deblur|inpaint|inpaint_box DATASET=photos|folder|celebahq|ffhq|imagenet|huggingface
	@$(RUN) diracdiff train task=$(TASK) data=$(DATASET) $(ARGS)

report: $(READY)  ## open the report of a training run, an evaluation or a comparison in a browser: RUN_DIR=FOLDER
	@test -f "$(RUN_DIR)/report.html" || { echo "error: $(RUN_DIR)/report.html does not exist. Give RUN_DIR=FOLDER"; exit 2; }
	@echo "$(RUN_DIR)/report.html"
	@test "$$(uname)" = Linux -a -z "$$DISPLAY$$WAYLAND_DISPLAY" || $(RUN) webbrowser "file://$$(realpath "$(RUN_DIR)/report.html")"

sweep: $(READY)  ## train one restorer per combination of values: TASK=deblur,inpaint ARGS="sampler.num_steps=10,20"
	@$(RUN) diracdiff train -m task=$(TASK) data=$(DATASET) $(ARGS)

demo: $(VENV)/.installed-demo  ## serve a page to try a model on photographs, on this machine only: ARGS="checkpoint=runs/latest/best.ckpt"
	@$(RUN) diracdiff demo $(ARGS)

evaluate: $(READY)  ## evaluate CHECKPOINT on DATASET
	@$(RUN) diracdiff evaluate checkpoint=$(CHECKPOINT) data=$(DATASET) $(ARGS)

restore: $(READY)  ## restore the degraded images INPUT into OUTPUT with CHECKPOINT: TARGET=psnr|lpips|swd|…
	@$(if $(INPUT),,$(error INPUT: must be given. Give INPUT=FILE_OR_FOLDER))$(RUN) diracdiff restore checkpoint=$(CHECKPOINT) input="$(INPUT)" output="$(OUTPUT)" target=$(TARGET) $(ARGS)

compare: $(READY)  ## compare CHECKPOINT with other methods on DATASET: ARGS="prior=… regression=…"
	@$(RUN) diracdiff compare checkpoint=$(CHECKPOINT) data=$(DATASET) $(ARGS)

schedule: $(READY)  ## schedule the severity of TASK over time: writes a table to runs/
	@$(RUN) diracdiff schedule task=$(TASK) data=$(DATASET) output=runs/schedule_$(TASK).csv $(ARGS)

pack: $(VENV)/.installed-hf  ## write a decoded copy of DATASET, which loads faster: ARGS="data.root=… output=packed"
	@$(RUN) diracdiff pack data=$(DATASET) $(ARGS)

wheel: $(DEV)  ## build dist/*.whl with the bundled models
	@$(RUN) hatchling build -t wheel

bench: $(READY)  ## benchmark all parts: ARGS="--output saved.json model=base", ARGS="--compare saved.json"
	@$(RUN) benchmarks.run $(ARGS)

docs: $(VENV)/.installed-docs  ## build the documentation: docs/_build/index.html
	@$(RUN) sphinx -b html -q -W --keep-going docs docs/_build && echo docs/_build/index.html

test: $(DEV)  ## run the tests
	@$(RUN) pytest -n 2 --dist loadfile $(ARGS)

lint: $(DEV)  ## check style, docstrings, types and words
	@$(RUN) ruff check . && $(RUN) ruff format --check . && $(RUN) mypy && $(VENV)/bin/python tools/check_style.py

format: $(DEV)  ## fix style
	@$(RUN) ruff check --fix . && $(RUN) ruff format .

clean:  ## remove .venv and caches, but not runs/
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist docs/_build docs/_generated
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
