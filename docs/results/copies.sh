#!/usr/bin/env bash
# The study's two sides and its baseline without the images that are copies of others: run after the
# study was read, to see how much of its answer is theirs.
#   docs/results/copies.sh fer2013.zip [folder of runs]
set -euo pipefail
faces=$1 runs=${2:-runs/faces-sides}

run() { # name seed space trials
    [ -e "$runs/$1" ] || tuner run --runs "$runs" --name "$1" --seed "$2" --data "$faces" \
        --copies drop --limit 2000 --space "$3" --trials "$4" --epochs 20 \
        --width 8 --set stem=imagenet --set lr=0.001 \
        --sampler random --scheduler none --seeds fresh "${@:5}"
}
run clean_pilot 301 dynamic_default 10 --set w_init=0.046
run clean_baseline 302 baseline 20
run clean_dynamic 303 dynamic_default 20 --set w_init=0.046
run clean_periodic 304 periodic 40
