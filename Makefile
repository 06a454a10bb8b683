# Two commands do everything on a fresh machine with Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check wheel sbom record nightly clean

# Refine a drawn clip; leaves poses, an overlay video and a report in demo/.
demo: $(VENV)/installed
	$(BIN)/posefix-track --demo demo --overwrite

test: $(VENV)/installed
	$(BIN)/python -m pytest

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The same commit gives the same bytes, wherever and whenever it is built.
wheel: $(VENV)/installed
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m hatchling build -t wheel -d dist
	cd dist && sha256sum *.whl

# A CycloneDX bill of materials: what the tests run with, down to the last dependency.
sbom: $(VENV)/sbom/installed
	mkdir -p dist
	$(VENV)/sbom/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type library \
		--output-reproducible -o dist/posefix_track.cdx.json

# Speed beside the original's way in the same run, and whether it fell by a tenth since `make record` on this machine.
SPEED := $(BIN)/python -m benchmarks.end_to_end --baseline --frames 60 --rounds 5 --save
record: $(VENV)/installed
	mkdir -p out
	$(SPEED) out/recorded_speed.json

nightly: $(VENV)/installed
	mkdir -p out
	$(SPEED) out/speed.json
	$(BIN)/python -m benchmarks.compare out/recorded_speed.json out/speed.json

$(VENV)/sbom/installed: $(VENV)/installed
	# In an environment of its own, so that it does not list itself.
	$(PYTHON) -m venv $(VENV)/sbom
	$(VENV)/sbom/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt cyclonedx-bom
	touch $@

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[hdf5,eval,train,import-onnx,int8,tensorrt-rtx,dev]"
	touch $@

clean:
	rm -rf $(VENV) demo dist
