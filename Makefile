# `make demo` and `make test` are all that a new user needs; each installs what it needs into .venv.

PYTHON ?= python3
# On Linux, plain `torch` is gigabytes of CUDA; any version from 2.7 on does.
TORCH ?= torch==2.13.0
DEMO ?= demo-out

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: demo demo-phone test lint types unit package phone gate baseline measured picture clean \
	bench-export bench-vision bench-total bench-four-bits bench-push bench-harness bench-eval

demo: $(VENV)/base
	@echo "==> Exporting the demo checkpoint"
	$(BIN)/imp-deploy demo $(DEMO)/checkpoint --force
	$(BIN)/imp-deploy export $(DEMO)/checkpoint $(DEMO)/bundle --name Imp-Demo --force
	@echo "==> Asking it about a picture (the first time, this builds the runner: seconds)"
	$(BIN)/imp-deploy run $(DEMO)/bundle --image $(DEMO)/checkpoint/images/scene-1.png \
		--prompt "What colour is the circle?"

# The whole way to a phone, on one that is not there: its figures mean nothing.
demo-phone: $(VENV)/base
	@echo "==> Building the runner for phones (the first time, with llama.cpp: minutes)"
	$(BIN)/imp-deploy build android
	@echo "==> Exporting the demo checkpoint"
	$(BIN)/imp-deploy demo $(DEMO)/checkpoint --force
	$(BIN)/imp-deploy export $(DEMO)/checkpoint $(DEMO)/bundle --name Imp-Demo --force
	@echo "==> Asking it about a picture on the virtual phone"
	$(BIN)/imp-deploy run $(DEMO)/bundle --image $(DEMO)/checkpoint/images/scene-1.png \
		--prompt "What colour is the circle?" --device virtual
	@echo "==> Measuring two variants on it (few tokens, few rounds)"
	$(BIN)/imp-deploy bench $(DEMO)/bundle --device virtual --bits 8,4 --resolution 196 \
		--max-tokens 16 --repetitions 2 --out $(DEMO)/phone --force
	$(BIN)/imp-deploy report $(DEMO)/phone
	$(BIN)/imp-deploy report $(DEMO)/phone --format html --out $(DEMO)/phone/report.html --force
	@echo "==> The page: $(DEMO)/phone/report.html"

test: lint types unit package phone
	@echo "==> All checks passed"

lint: $(VENV)/test
	@echo "==> Linting"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy cannot follow an editable install's folder mapping, so it reads an installed copy.
types: $(VENV)/test
	@echo "==> Checking types"
	rm -rf build/types build/lib  # setuptools would take modules that are gone from there
	$(PIP) install --quiet --no-deps --no-build-isolation --target build/types .
	MYPYPATH=build/types $(BIN)/mypy --strict -p imp_deploy

unit: $(VENV)/test
	@echo "==> Testing"
	$(BIN)/python -m pytest

package: $(VENV)/test
	@echo "==> Building the wheel and trying it in an empty environment"
	rm -rf build/wheel build/lib
	$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check build/wheel/*.whl
	build/wheel/venv/bin/imp-deploy demo build/wheel/checkpoint
	build/wheel/venv/bin/imp-deploy export build/wheel/checkpoint build/wheel/bundle --bits 4
	build/wheel/venv/bin/imp-deploy run build/wheel/bundle --prompt "What colour is the circle?" \
		--image build/wheel/checkpoint/images/scene-1.png

# `demo-phone`, where its programs are installed; .ci/run installs them.
phone: $(VENV)/base
	@if $(BIN)/python -c 'from imp_deploy.bench.virtual import tools; tools.find()' 2>/dev/null; \
	then $(MAKE) demo-phone; \
	else echo "==> Skipping demo-phone: it needs qemu-user-static, proot and busybox-static"; fi

# The demo checkpoint through the gate of docs/accuracy.md: its sizes, its answers and its distance
# from 16 bits must be what tests/demo.baseline.json says, and the way to a phone must work.
BASELINE := tests/demo.baseline.json
CHECK = $(BIN)/imp-deploy check $(GATE) --baseline $(BASELINE) --only size,accuracy,quality
GATE := $(DEMO)/gate
# Beside it: too few questions to compare.
REHEARSAL := $(DEMO)/rehearsal

gate: measured
	@echo "==> Comparing with $(BASELINE)"
	$(CHECK) --markdown $(GATE)/check.md --junit $(GATE)/check.xml

# After a change that is meant to change them.
baseline: measured
	$(CHECK) --update

measured: $(VENV)/base
	rm -rf $(GATE) $(REHEARSAL)
	@echo "==> Exporting the demo checkpoint"
	$(BIN)/imp-deploy demo $(GATE)/checkpoint
	$(BIN)/imp-deploy export $(GATE)/checkpoint $(GATE)/bundle --name Imp-Demo
	@echo "==> Asking it 500 questions, at 16, 8 and 4 bits"
	$(BIN)/imp-deploy eval $(GATE)/bundle --task demo --bits 16,8,4 --out $(GATE)/results
	$(BIN)/imp-deploy eval $(GATE)/bundle --task demo --resolution 384 --out $(GATE)/results
	@echo "==> Measuring how far 8 and 4 bits are from 16"
	$(BIN)/imp-deploy quality $(GATE)/bundle --task demo --resolution 196 --limit 200 \
		--out $(GATE)/results
	@echo "==> Rehearsing on the virtual phone"
	$(BIN)/imp-deploy eval $(GATE)/bundle --task demo --limit 4 --device virtual \
		--out $(REHEARSAL)
	$(BIN)/imp-deploy bench $(GATE)/bundle --device virtual --bits 4 --resolution 196 \
		--max-tokens 8 --repetitions 1 --out $(REHEARSAL)
	$(BIN)/imp-deploy report $(GATE) $(REHEARSAL) --format html --out $(GATE)/report.html

picture: $(VENV)/base
	rm -rf demo-out
	$(BIN)/python docs/picture.py docs/demo.svg

# The four tables of docs/performance.md, side by side with llama.cpp's own programs. Checkpoints of
# Imp-3B's size are made once, in BENCH; exporting them needs 36 GB there. Nothing else may run.
BENCH ?= build/bench
bench-export: $(VENV)/test
	$(BIN)/python -m imp_deploy.bench.speed.export --folder $(BENCH)

bench-vision: $(VENV)/base
	$(BIN)/python -m imp_deploy.bench.speed.vision --folder $(BENCH)

bench-total: $(VENV)/base
	$(BIN)/python -m imp_deploy.bench.speed.total --folder $(BENCH)

bench-four-bits: $(VENV)/base
	$(BIN)/python -m imp_deploy.bench.four_bits $(BENCH)/four-bits

# A 200 MB push to the virtual phone: the real adb and ours, by turns.
bench-push: $(VENV)/base
	$(BIN)/python -m imp_deploy.bench.push_rate

# What supervisor, sampling and polling add to T_total, on this machine.
bench-harness: $(VENV)/base demo
	$(BIN)/python -m imp_deploy.bench.harness $(DEMO)/bundle

# What an evaluation costs beside the model's own work, on this machine.
bench-eval: $(VENV)/base demo
	$(BIN)/python -m imp_deploy.bench.evaluation $(DEMO)/bundle

$(VENV)/base: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3."; exit 1; }
	@command -v c++ >/dev/null || \
		{ echo "A C++ compiler is needed; on Debian and Ubuntu: apt-get install g++"; exit 1; }
	@echo "==> Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "==> Installing llama.cpp (llama-cpp-python). The first time, pip compiles it: about"
	@echo "    7 minutes on 2 cores, and pip keeps the result. It reports every minute:"
	$(PIP) install --progress-bar off "$$(sed -n 's/.*"\(llama-cpp-python==[^"]*\)".*/\1/p' pyproject.toml)"
	@echo "==> Installing imp-deploy"
	$(PIP) install --quiet --editable .
	@touch $@

$(VENV)/test: $(VENV)/base
	@echo "==> Installing PyTorch and the test tools"
	$(PIP) install --quiet "$(TORCH)"
	$(PIP) install --quiet --editable ".[torch,dev]"
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
