r"""Templates: strings of which some tokens are given and the others are to be drawn.

A template is a row of tokens with holes. In text, ``?`` stands for one token that is not known, and ``...``
at the end for any number of them::

    c1ccc(???)cc1        three tokens between known ones, and nothing after them
    CC(=O)N...           a beginning

Known tokens are kept exactly as they are written: they condition the model, which fills in the rest. Whether
the whole is a molecule is not sure for SMILES, and that it contains what the known tokens alone would mean is
not sure for either representation, since rings and branches reach across.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .tokenizers import MoleculeTokenizer

__all__ = ["HOLE", "OPEN_END", "TokenTemplate", "read_template"]

HOLE, OPEN_END = "?", "..."


@dataclass(frozen=True)
class TokenTemplate:
    """Tokens with holes.

    Parameters
    ----------
    tokens : tuple of str or None
        None is a hole: one token that is to be drawn.
    open_end : bool
        Whether more tokens may follow; otherwise the string ends after the last one.
    """

    tokens: tuple[str | None, ...]
    open_end: bool

    def __post_init__(self) -> None:
        if not self.tokens and not self.open_end:
            raise ValueError("a template must hold tokens, holes or an open end, got nothing")

    @property
    def n_known(self) -> int:
        """Number of known tokens."""
        return sum(token is not None for token in self.tokens)

    def check(self, vocabulary: Iterable[str], length: int) -> None:
        """Refuse known tokens that a model has not learned, and more sites than its sequences have.

        Raises
        ------
        ValueError
            Naming the tokens, or both lengths.
        """
        unknown = sorted({token for token in self.tokens if token is not None} - set(vocabulary))
        if unknown:
            raise ValueError(
                f"the token{'s' if len(unknown) > 1 else ''} {', '.join(map(repr, unknown))} of the template "
                "did not occur in the molecules of the fit"
            )
        if len(self.tokens) > length:
            raise ValueError(
                f"the template has {len(self.tokens)} sites ({self.n_known} known), and the sequences of the "
                f"model have {length}; fit on molecules that are as long"
            )


def read_template(text: str, tokenizer: MoleculeTokenizer) -> TokenTemplate:
    """Read a template written as text.

    Parameters
    ----------
    text : str
        In the representation of the tokenizer, with ``?`` for a hole and ``...`` at the end for an open end.
    tokenizer : MoleculeTokenizer
        What splits the known stretches.

    Returns
    -------
    TokenTemplate

    Raises
    ------
    TypeError
        If it is no string.
    ValueError
        If a stretch cannot be split into tokens, or nothing is left to be drawn.
    """
    if not isinstance(text, str):
        raise TypeError(f"a template must be a string, got {type(text).__name__}")
    open_end = text.endswith(OPEN_END)
    stretches = text.removesuffix(OPEN_END).split(HOLE)
    tokens: list[str | None] = []
    for place, stretch in enumerate(stretches):
        tokens += [None] * (place > 0) + (list(tokenizer.tokenize(stretch)) if stretch else [])
    if None not in tokens and not open_end:
        raise ValueError(
            f"the template {text!r} has no hole: write {HOLE} for each token that is to be drawn, or "
            f"{OPEN_END} at the end"
        )
    return TokenTemplate(tuple(tokens), open_end)
