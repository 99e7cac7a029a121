#!/usr/bin/env bash
# What the study of faces.yaml leaves open: ordinary runs at its settings, fixed before it was read.
#   docs/results/sides.sh fer2013.zip cifar10.zip [folder of runs]
set -euo pipefail
faces=$1 objects=$2 runs=${3:-runs/faces-sides}

run() { # name seed data space trials further options
    local name=$1 seed=$2 data=$3 space=$4 trials=$5
    shift 5
    [ -e "$runs/$name" ] || tuner run --runs "$runs" --name "$name" --seed "$seed" --data "$data" \
        --limit 2000 --space "$space" --trials "$trials" --epochs 20 \
        --width 8 --set stem=imagenet --set lr=0.001 "$@"
}
census=(--sampler random --scheduler none --seeds fresh)

# As many baseline trials on test as dynamic ones.
run baseline_more 101 "$faces" baseline 20 "${census[@]}"
# What becomes of w, and so of dynamic injection, under another optimiser.
run dynamic_adamw 102 "$faces" dynamic_default 10 "${census[@]}" --set w_init=0.046 \
    --set optimizer=adamw --set weight_decay=0.01
run dynamic_no_decay 103 "$faces" dynamic_default 10 "${census[@]}" --set w_init=0.046 \
    --set weight_decay=0
# Does dropout help on objects, as the paper says, and not on faces?
run objects_baseline 104 "$objects" baseline 20 "${census[@]}"
run objects_dropout 105 "$objects" dropout 20 "${census[@]}"
# Searches as the study's, but on one seed each, so that trials share what they have in common.
for i in 1 2 3 4 5; do
    run "shared_$i" "20$i" "$faces" periodic 15 --sampler tpe --scheduler asha --seeds fixed --share
done
# The network in bfloat16, whose rounding reaches w.
run dynamic_bf16 106 "$faces" dynamic_default 10 "${census[@]}" --set w_init=0.046 \
    --set precision=bf16
