"""The pages of the studies of real faces, every number of which is computed from what is committed.

What stands in a page between `<!-- NAME -->` and `<!-- /NAME -->` is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.faces import chances, knobs, matched, saved, scores, summary
from benchmarks.faces.committed import CLEAN, EVIDENCE, FIRST, PAGE

PAGES: dict[Path, dict[str, Callable[[], str]]] = {
    PAGE: {
        "answer": partial(saved.first_sentence, CLEAN),
        "levels": scores.levels,
        "ratio": summary.ratio_rows,
        "saved": summary.saved_rows,
        "scores": summary.score_rows,
        "basins": summary.basin_rows,
        "injection": summary.injection_rows,
    },
    EVIDENCE: {
        "savings": saved.savings,
        "ablation": matched.ablation,
        "chances": chances.chances,
        "targets": matched.targets,
        "matches": matched.matches,
        "searches": saved.searches,
        "pace": saved.pace,
        "quality": scores.quality,
        "baseline": scores.baseline,
        "contrasts": scores.contrasts,
        "positions": scores.positions,
        "dynamic positions": knobs.dynamic_positions,
        "objects": scores.objects,
        "basins": knobs.basins,
        "importance": knobs.importances,
        "injection": knobs.injection,
        "first answer": partial(saved.first_sentence, FIRST),
        "first matches": partial(matched.matches, FIRST),
        "gaps": scores.gaps,
        "copies": scores.copied,
        "clean after looking": matched.clean_after_looking,
    },
}
"""Each page's blocks, by name."""


def filled(page: Path) -> str:
    """Return a page with every block made anew."""
    text = page.read_text(encoding="utf-8")
    for name, block in PAGES[page].items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if not text.count(begin) == text.count(end) == 1:
            raise SystemExit(f"{page} must have one block <!-- {name} --> … {end}.")
        before, _, rest = text.partition(begin)
        text = before + begin + block() + end + rest.partition(end)[2]
    return text
