"""Text and tables in the two languages of papers: Markdown, and LaTeX with `booktabs`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "≥": r"$\ge$", "−": "$-$", "×": r"$\times$",
    "δ": r"$\delta$", "½": r"$\frac{1}{2}$", "∞": r"$\infty$", "–": "--", "·": r"$\cdot$",
}  # fmt: skip


def markdown(text: str) -> str:
    """Return text in which nothing is markup.

    >>> markdown("dynamic_default | x")
    'dynamic\\\\_default \\\\| x'
    """
    for special in "\\|*_`<[":
        text = text.replace(special, "\\" + special)
    return text


def latex(text: str) -> str:
    """Return text in which nothing is markup.

    >>> latex("dynamic_default ≥ 50 %")
    'dynamic\\\\_default $\\\\ge$ 50 \\\\%'
    """
    return "".join(_LATEX.get(character, character) for character in text)


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines."""
    lines = ["| " + " | ".join(map(markdown, titles)) + " |", "|" + "---|" * len(titles)]
    return lines + ["| " + " | ".join(map(markdown, row)) + " |" for row in rows]


def latex_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table's lines; a head without any title is left out."""
    lines = [rf"\begin{{tabular}}{{{'l' * len(titles)}}}", r"\toprule"]
    if any(titles):
        lines += [" & ".join(map(latex, titles)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(latex, row)) + r" \\" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]
