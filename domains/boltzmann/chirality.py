r"""Which hand a chiral centre has, and the exact way to turn a law without a hand into one with a hand.

The *hand* of a centre c with three neighbours a, b, d is the sign of the triple product

.. math:: \chi(x) = (x_a - x_c) \cdot \bigl( (x_b - x_c) \times (x_d - x_c) \bigr).

A model of distances cannot tell a molecule from its mirror image: with S a reflection its law has
:math:`p(Sx) = p(x)`, one half of each hand. If energies do not tell them apart either, and dynamics never
turns one into the other, the law wanted is :math:`p(x \mid \chi > 0) = 2 p(x) 1[\chi(x) > 0]`, and
reflecting the draws of the other hand gives exact draws of it: for any function f that does not depend on
where the molecule lies,

.. math:: E_p[f(x) \, 1[\chi > 0] + f(S x) \, 1[\chi < 0]] = E[f(x) \mid \chi > 0] .

Weights stay as they are. Only a molecule whose other chiral centres follow the first is folded to the right
molecule; others become diastereomers where they disagree, which :func:`hand_of` tells for each centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Folded", "check_centre", "common_hand", "fold_mirror_images", "hand_of", "reflected"]


class Folded(NamedTuple):
    """Configurations of one hand.

    Parameters
    ----------
    configurations : Tensor of shape (n, atoms, 3)
        Those of the other hand reflected.
    reflected : Tensor of bool, shape (n,)
        Which were.
    """

    configurations: Tensor
    reflected: Tensor

    @property
    def share(self) -> float:
        """Share that was reflected, near one half for a law without a hand."""
        return float(self.reflected.double().mean())


def hand_of(configurations: Tensor, centre: Sequence[int]) -> Tensor:
    """Return the hand of a centre in each configuration.

    Parameters
    ----------
    configurations : Tensor of shape (..., atoms, 3)
        Positions in any unit.
    centre : sequence of four int
        The centre and three of its neighbours; exchanging two of these changes the sign.

    Returns
    -------
    Tensor of shape (...,)
        1, -1, or 0 where the four lie in one plane; of the dtype of the configurations.

    Raises
    ------
    ValueError
        For another shape, or a centre that does not name four different atoms.
    """
    _check(configurations, centre)
    place, *around = centre
    first, second, third = (configurations[..., one, :] - configurations[..., place, :] for one in around)
    product: Tensor = (first * torch.linalg.cross(second, third)).sum(-1)
    return product.sign()


def check_centre(value: Any, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the parameter `chiral_centre` as plain numbers, None where there is none.

    Parameters
    ----------
    value : sequence of four int or None
        What was given.
    shape : (int, int)
        Atoms and dimensions of a configuration.

    Raises
    ------
    TypeError, ValueError
        For anything but four different atoms, in three dimensions.
    """
    if value is None:
        return None
    if shape[1] != 3:
        raise ValueError(f"chiral_centre needs three dimensions, X has {shape[1]}")
    numbers = value.tolist() if isinstance(value, np.ndarray | Tensor) else value
    whole = (int, np.integer)
    if not isinstance(numbers, list | tuple) or any(
        isinstance(one, bool) or not isinstance(one, whole) for one in numbers
    ):
        raise TypeError(f"chiral_centre must hold four numbers of atoms, got {value!r:.60}")
    places = tuple(int(one) for one in numbers)
    if len(places) != 4 or len(set(places)) != 4 or not all(0 <= one < shape[0] for one in places):
        raise ValueError(
            f"chiral_centre must be four different atoms between 0 and {shape[0] - 1}, the centre first, got "
            f"{places}"
        )
    return places


def common_hand(positions: NDArray[np.float64], centre: Sequence[int]) -> int:
    """Return the hand that a centre has in all configurations (n, atoms, 3).

    Raises
    ------
    ValueError
        If some have one and some the other, or none, or for a centre that is none.
    """
    hands = hand_of(torch.from_numpy(positions), tuple(int(one) for one in centre))
    if not bool(hands.all()):
        row = int((hands == 0).double().argmax())
        raise ValueError(f"chiral_centre lies in one plane with its neighbours in configuration {row} of X")
    share = float((hands > 0).double().mean())
    if 0.0 < share < 1.0:
        raise ValueError(
            f"chiral_centre must have one hand in all configurations of X; {share:.1%} have the first: leave "
            "chiral_centre out if the centre turns over, or check its atoms"
        )
    return 1 if share == 1.0 else -1


def reflected(configurations: Tensor) -> Tensor:
    """Return the mirror images (..., atoms, dimensions): first coordinates change sign about their mean."""
    first, rest = configurations[..., :1], configurations[..., 1:]
    return torch.cat([2.0 * first.mean(-2, keepdim=True) - first, rest], dim=-1)


def fold_mirror_images(configurations: Tensor, centre: Sequence[int], hand: int = 1) -> Folded:
    """Reflect the configurations of the wrong hand.

    Parameters
    ----------
    configurations : Tensor of shape (n, atoms, 3)
        Draws of a law without a hand.
    centre : sequence of four int
        As for `hand_of`.
    hand : {1, -1}
        The hand wanted. The alpha carbon of an L-amino acid with N, C and beta carbon, in this order, has 1.

    Returns
    -------
    Folded
        The configurations and which were reflected.

    Raises
    ------
    ValueError
        As of `hand_of`, and for another hand.
    """
    if hand not in (1, -1):
        raise ValueError(f"hand must be 1 or -1, got {hand!r}")
    if configurations.ndim != 3:
        raise ValueError(f"configurations must have shape (n, atoms, 3), got {tuple(configurations.shape)}")
    wrong = hand_of(configurations, centre) * hand < 0
    return Folded(torch.where(wrong[:, None, None], reflected(configurations), configurations), wrong)


def _check(configurations: Tensor, centre: Sequence[int]) -> None:
    if configurations.ndim < 2 or configurations.shape[-1] != 3:
        raise ValueError(f"configurations must have shape (..., atoms, 3), got {tuple(configurations.shape)}")
    atoms = configurations.shape[-2]
    whole = all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < atoms for one in centre)
    if len(centre) != 4 or not whole or len(set(centre)) != 4:
        raise ValueError(
            f"centre must be four different atoms between 0 and {atoms - 1}, the centre first, got "
            f"{tuple(centre)}"
        )
