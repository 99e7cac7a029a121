"""The studies of real faces: what is committed of their runs, and docs/results.md made from it.

`collect` writes docs/results/STUDY/ from runs, `committed` reads it, and `page` computes every
number of docs/results.md from it.

    python -m benchmarks.faces collect faces_clean runs/faces_clean runs/clean-sides
    python -m benchmarks.faces copies ~/.cache/tuner/fer2013-…     # of training images, elsewhere
    python -m benchmarks.faces tables            # docs/results.md, from docs/results/
    python -m benchmarks.faces tables --check    # 1 if that would change it
"""
