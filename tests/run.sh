#!/usr/bin/env bash
# Installs everything into a virtual environment (default: .venv) and runs the fast checks: style, types, all fast
# tests, and a handful of cells against their committed baseline. `.ci/run` runs the slow tests and all cells besides.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet -c constraints.txt -e '.[dev]'
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
"$venv/bin/python" -m pytest -n "${JOBS:-2}" -m 'not slow'
bash tests/check.sh "$venv" quick results/baseline-quick.csv
