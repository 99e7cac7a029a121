"""The studies of real faces: what is committed of their runs, and the pages made from it.

`collect` writes docs/results/STUDY/ from runs, and `committed` reads it. From that `saved`,
`matched`, `chances`, `scores` and `knobs` make the tables of docs/results/evidence.md, and
`summary` those of docs/results.md; `page` puts them in their places.

    python -m benchmarks.faces collect faces_clean runs/faces_clean runs/clean-sides
    python -m benchmarks.faces copies ~/.cache/tuner/fer2013-…     # of training images, elsewhere
    python -m benchmarks.faces tables            # the pages' numbers, from docs/results/
    python -m benchmarks.faces tables --check    # 1 if that would change a page
"""
