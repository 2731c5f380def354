#!/usr/bin/env bash
# The runs behind the tables of the README: about 20 minutes on two cores. Usage: docs/study.sh RESULTS_DIR
set -euo pipefail
export OMP_NUM_THREADS=1 # two processes of one thread each finish sooner than one of two
bench=$(command -v bench || echo "$(dirname "$0")/../.venv/bin/bench")
seeds="--seed 0 --seed 1 --seed 2"
results=$1
run() { "$bench" run --results "$results" "$@"; }
both_views() {
  run "$@"
  run --withhold noise_target "$@"
}
first() {
  both_views $seeds --attack closed-form --defense none --defense timestep --defense activation
  both_views --attack inversion --defense none --defense timestep --defense activation
}
second() {
  both_views $seeds --attack closed-form --defense prompt --defense published
  both_views --attack inversion --defense prompt --defense published
  run $seeds --attack closed-form --victim centralised
  run $seeds --attack closed-form --protocol gradient
  run --attack closed-form --defense timestep:t_min=5 --defense timestep:t_min=900 --seed 0
  run --attack closed-form --protocol u-shaped --seed 0
}
first &
second
wait $!
