#!/usr/bin/env bash
# The runs behind the tables of the README: about 40 minutes on two cores. Usage: docs/study.sh RESULTS_DIR
set -euo pipefail
export OMP_NUM_THREADS=1 # two processes of one thread each finish sooner than one of two
bench=$(command -v bench || echo "$(dirname "$0")/../.venv/bin/bench")
seeds="--seed 0 --seed 1 --seed 2"
both="--attack closed-form --attack inversion"
run() { "$bench" run --results "$1" "${@:2}"; }
first() {
  for view in "" "--withhold noise_target"; do
    run "$1" $seeds $both $view --defense none --defense timestep --defense activation
  done
}
second() {
  for view in "" "--withhold noise_target"; do
    run "$1" $seeds $both $view --defense prompt --defense published
  done
  run "$1" $seeds --attack closed-form --victim centralised
  run "$1" $seeds --attack closed-form --protocol gradient
  run "$1" --attack closed-form --defense timestep:t_min=5 --defense timestep:t_min=900
  run "$1" --attack closed-form --protocol u-shaped
}
first "$1" &
second "$1"
wait $!
