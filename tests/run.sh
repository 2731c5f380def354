#!/usr/bin/env bash
# Installs everything into a virtual environment (default: .venv) and runs all checks: style, types, tests, and the
# smoke suite against the committed baseline of privacy metrics.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet -c constraints.txt -e '.[dev]'
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
"$venv/bin/python" -m pytest -n "${JOBS:-2}"
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
"$venv/bin/bench" check smoke --jobs "${JOBS:-2}" --threads 1 --results "$results" --baseline results/baseline.csv
