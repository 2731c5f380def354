#!/usr/bin/env bash
# Runs a suite in an empty results directory and compares it with a committed baseline: check.sh VENV SUITE BASELINE.
set -euo pipefail
cd "$(dirname "$0")/.."
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
"$1/bin/bench" check "$2" --jobs "${JOBS:-2}" --threads 1 --results "$results" --baseline "$3"
