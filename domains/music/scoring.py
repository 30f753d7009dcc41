"""The loss of a music model on recordings that it has not learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from .controls import ControlLayout
from .training import HeldOutMusic, MusicObjective, MusicTraining
from .training_windows import MusicWindows

__all__ = ["held_out_loss"]

_WINDOWS = 256


def held_out_loss(
    network: Any,
    latents: Sequence[Tensor],
    conditions: Sequence[Tensor] | None,
    *,
    layout: ControlLayout,
    training: MusicTraining,
    seed: int,
) -> float:
    """Return the mean squared error of the flow, the same at every call.

    Parameters
    ----------
    network : BlockLatentTransformer
        Or another one that `MusicObjective` takes.
    latents : sequence of Tensor, each of shape ``(frames, channels)``
        Normalised, at least one block each. Of a network that is trained on last blocks, those shorter than
        its window do not count, unless all are; its context then is what the longest one has.
    conditions : sequence of Tensor, each of shape ``(frames, width)``, optional
        All that is known of the controls.
    layout : ControlLayout
    training : MusicTraining
        Of the model; windows do not go on in another recording.
    seed : int
        Of noise and times.
    """
    training = replace(training, joined=False, held_out_windows=_WINDOWS)
    blocks = training.blocks(network, latents)
    if network.supervises_last:
        # A window that is not whole has no last block.
        whole = [number for number, one in enumerate(latents) if len(one) >= blocks * network.block]
        latents = [latents[number] for number in whole]
        conditions = None if conditions is None else [conditions[number] for number in whole]
    windows = MusicWindows(latents, conditions, block=network.block, n_blocks=blocks, joined=False)
    return float(HeldOutMusic(MusicObjective(windows, layout, training), seed)(network))
