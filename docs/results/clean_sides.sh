#!/usr/bin/env bash
# What the study of faces_clean.yaml cannot hold: ordinary runs at its settings, fixed before it ran.
#   docs/results/clean_sides.sh fer2013.zip cifar10.zip [folder of runs]
set -euo pipefail
faces=$1 objects=$2 runs=${3:-runs/clean-sides}

run() { # name seed data space trials further options
    local name=$1 seed=$2 data=$3 space=$4 trials=$5
    shift 5
    [ -e "$runs/$name" ] || tuner run --runs "$runs" --name "$name" --seed "$seed" --data "$data" \
        --limit 2000 --space "$space" --trials "$trials" --epochs 20 \
        --width 8 --set stem=imagenet --set lr=0.001 "$@"
}
# Light dropout on objects, by the study's range; their baseline is objects_baseline of sides.sh.
run objects_light_dropout 501 "$objects" dropout 20 --range dropout_rate=0.05:0.2 \
    --sampler random --scheduler none --seeds fresh
# Searches as the study's, but on one seed each, so that trials share what they have in common.
for i in 1 2 3 4 5; do
    run "shared_$i" "60$i" "$faces" periodic 15 --copies drop \
        --sampler tpe --scheduler asha --seeds fixed --share
done
