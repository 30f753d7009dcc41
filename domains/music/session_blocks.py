"""Blocks of audio from a music model: noise to latents, latents to sound, for several pieces at once.

What is drawn hangs on (seed, block, step) alone, and codecs decode pieces as they decode the whole, so pieces
made in one go and streams agree sample for sample. A stream begins with the `delay` samples by which its
codec lags: what stands there is the silence before the music, or, after a context, its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.continuous import Path, PredictionKind
from sciffusion.continuous.solvers import DPMSolverMultistep, Euler, Heun
from sciffusion.networks import BlockLatentDenoiser, packed
from sciffusion.sampling import BlockCausalGenerator, uniform_grid
from sciffusion.sampling.guidance import ClassifierFreeGuidance

from .codec import Codec, CodecState
from .controls import ControlLayout

__all__ = ["GRIDS", "SOLVERS", "BlockMaker", "BlockRun", "sigmoid_grid"]

#: Solvers by name; each makes one network evaluation a step, "heun" two.
SOLVERS: dict[str, Any] = {"euler": Euler, "heun": Heun, "multistep": DPMSolverMultistep}


def sigmoid_grid(n_steps: int, low: float = -6.0, high: float = 2.0) -> Tensor:
    r"""Return times :math:`\sigma(-l)` for evenly spaced l, with the ends put at 1 and 0.

    Most steps lie at high noise, where a block decides what it will be. On the straight path l is the
    logarithm of the signal-to-noise ratio.

    Parameters
    ----------
    n_steps : int >= 1
    low, high : float
        Range of l.

    Returns
    -------
    Tensor of float64, shape ``(n_steps + 1,)``
        For 6 steps 1, .9907, .9656, .8808, .6608, .3392, 0.
    """
    times = torch.sigmoid(-torch.linspace(low, high, n_steps + 1, dtype=torch.float64))
    times[0], times[-1] = 1.0, 0.0
    return times


#: Time grids of a block by name.
GRIDS: dict[str, Any] = {"sigmoid": sigmoid_grid, "uniform": uniform_grid}


class BlockMaker:
    """A fitted network and its codec on a device, with how blocks are drawn from them.

    Parameters
    ----------
    network : BlockLatentTransformer
        Or another one that `BlockCausalGenerator` takes; in evaluation mode.
    codec : Codec
        On the device of the network.
    layout : ControlLayout
        Of the network's conditions.
    path : Path
        On which it was trained.
    prediction : str
        What it predicts.
    solver, grid : str
        Of `SOLVERS` and `GRIDS`.
    guidance : float, default 1
        How much further than the model the controls are followed; 1 is the model.
    """

    def __init__(
        self,
        network: Any,
        codec: Codec,
        layout: ControlLayout,
        *,
        path: Path,
        prediction: PredictionKind,
        solver: str = "multistep",
        grid: str = "uniform",
        guidance: float = 1.0,
    ) -> None:
        self.network: Any = packed(network, tokens=network.block)
        self.codec, self.layout = codec, layout
        self._denoiser = BlockLatentDenoiser(self.network, path, prediction)
        self._solver, self._grid, self._guidance = solver, GRIDS[grid], guidance
        self._generators: dict[int, BlockCausalGenerator] = {}

    @property
    def block(self) -> int:
        """Frames in a block."""
        return int(self.network.block)

    @property
    def block_samples(self) -> int:
        """Samples in a block."""
        return self.block * self.codec.hop

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = next(self.network.parameters()).device
        return device

    def generator(self, nfe: int) -> BlockCausalGenerator:
        """Return what draws blocks with so many evaluations each."""
        if nfe not in self._generators:
            solver = SOLVERS[self._solver]()
            guided = self.layout.width > 0 and self._guidance != 1.0
            self._generators[nfe] = BlockCausalGenerator(
                self._denoiser, solver, self._grid(max(nfe // solver.nfe, 1)),
                frame_shape=(self.codec.channels,), device=self.device,
                guidance=ClassifierFreeGuidance(self._guidance) if guided else (),
                # A partner's sound of a block may come after the block: the newest one but one is read anew.
                revise=1 if "partner" in self.layout.names else 0, fused=True,
            )  # fmt: skip
        return self._generators[nfe]

    def context_latents(self, samples: NDArray[np.float32]) -> Tensor:
        """Return the normalised latents of the whole blocks at the end of a sound, ``(1, frames, channels)``.

        Twice the window at most: a network has not been trained on more.
        """
        hop, most = self.codec.hop, 2 * int(self.network.window) * self.block
        frames = min(len(samples) // hop // self.block * self.block, most)
        # One block more warms the encoder up where there is one.
        heard = samples[len(samples) - min(len(samples) // hop, frames + self.block) * hop :]
        with torch.inference_mode():
            encoded = self.codec.encode(torch.from_numpy(heard)[None].to(self.device))
            return self.codec.statistics.normalise(encoded)[:, encoded.shape[1] - frames :]


class BlockRun:
    """Pieces on their way.

    Parameters
    ----------
    maker : BlockMaker
    items : int
        Pieces.
    seed : int
        Of all noise.
    context : Tensor of shape ``(1, frames, channels)``, optional
        Normalised latents of whole blocks that come before, the same for all pieces.
    """

    def __init__(self, maker: BlockMaker, items: int, seed: int, context: Tensor | None = None) -> None:
        self._maker = maker
        self._before = 0 if context is None else context.shape[1] // maker.block
        prompt = None if context is None else context.expand(items, -1, -1)
        self._stream = maker.generator(1).start(
            items, seed=seed, prompt=prompt, conditioned=maker.layout.width > 0
        )
        self._decoder: CodecState = maker.codec.start_decoding(items)
        self._conditions: dict[int, Tensor] = {}
        if prompt is not None:
            with torch.inference_mode():
                raw = maker.codec.statistics.denormalise(prompt)
                self._decoder = maker.codec.decode_next(raw, self._decoder)[1]

    @property
    def number(self) -> int:
        """Number of the next block, from 0; a context does not count."""
        return self._stream.number - self._before

    @property
    def items(self) -> int:
        """Pieces."""
        return len(self._stream.pending)

    @property
    def pending(self) -> list[int]:
        """Numbers of the blocks whose conditions may still be changed, the oldest first."""
        return [number - self._before for number in sorted(self._conditions)]

    def revise(self, number: int, place: slice, rows: Tensor) -> None:
        """Change what a pending block is kept under.

        Parameters
        ----------
        number : int
            Of `pending`.
        place : slice
            Of the numbers of a frame.
        rows : Tensor of shape ``(block, numbers)``
            NaN leaves a number as it is.
        """
        condition = self._conditions[number + self._before].clone()
        rows = rows.to(condition)
        condition[..., place] = torch.where(rows.isnan(), condition[..., place], rows)
        self._conditions[number + self._before] = condition

    def advance(self, condition: Tensor | None, nfe: int) -> tuple[NDArray[np.float32], int]:
        """Make the next block.

        Parameters
        ----------
        condition : Tensor of shape ``(items or 1, block, width)`` or None
            None for a model without controls.
        nfe : int
            Evaluations inside the block.

        Returns
        -------
        samples : ndarray of float32, shape ``(items, block_samples)``
        nfe : int
            Evaluations that were made, those that keep the block before included.
        """
        maker, before = self._maker, self._stream.nfe
        given: Any = None
        if condition is not None:
            condition = condition.to(maker.device).expand(self.items, -1, -1)
            self._conditions[self._stream.number] = condition
            given = self._condition
        self._stream, block = maker.generator(nfe).advance(self._stream, given)
        # What is pending is read again for the next block, under the conditions that hold then.
        oldest = self._stream.number - self._stream.pending.shape[1] // maker.block
        self._conditions = {n: c for n, c in self._conditions.items() if n >= oldest}
        with torch.inference_mode():
            raw = maker.codec.statistics.denormalise(block.values)
            audio, self._decoder = maker.codec.decode_next(raw, self._decoder)
        samples = audio.clamp(-1.0, 1.0).float().cpu().numpy()
        return samples, self._stream.nfe - before

    def state(self) -> dict[str, Tensor]:
        """Return all that the next blocks depend on, as tensors by name."""
        parts = {f"stream.{name}": part for name, part in self._stream.snapshot().items()}
        parts |= {f"decoder.{name}": part.clone() for name, part in self._decoder.items()}
        parts |= {f"condition.{number}": part.clone() for number, part in self._conditions.items()}
        parts["before"] = torch.tensor(self._before)
        return {name: part.detach().cpu() for name, part in parts.items()}

    @classmethod
    def restored(cls, maker: BlockMaker, state: Mapping[str, Tensor]) -> BlockRun:
        """Return the run that `state` described."""
        run = object.__new__(cls)
        run._maker, run._before = maker, int(state["before"])
        placed = {name: part.to(maker.device) for name, part in state.items()}
        run._stream = maker.generator(1).restore(_under("stream.", placed))
        run._decoder = _under("decoder.", placed)
        conditions = _under("condition.", placed)
        run._conditions = {int(number): part for number, part in conditions.items()}
        run._check()
        return run

    def _check(self) -> None:
        """Refuse what was restored where its shapes are not those of a run."""
        maker, stream = self._maker, self._stream
        if stream.pending.ndim != 3 or stream.pending.shape[1] % maker.block:
            raise ValueError(f"the blocks that are pending have shape {tuple(stream.pending.shape)}")
        fresh = maker.generator(1).start(self.items, conditioned=maker.layout.width > 0)
        frames = (self.items, maker.block, maker.layout.width)
        expected = _shapes(fresh.snapshot(), maker.codec.start_decoding(self.items))
        expected |= dict.fromkeys((f"condition {number}" for number in self._conditions), frames)
        parts = {**stream.snapshot(), "pending": stream.pending[:, :0]}
        found = _shapes(parts, self._decoder)
        found |= {f"condition {number}": tuple(part.shape) for number, part in self._conditions.items()}
        if found != expected:
            wrong = sorted(name for name in found | expected if found.get(name) != expected.get(name))
            raise ValueError(
                f"{wrong[0]} should have shape {expected.get(wrong[0])}, got {found.get(wrong[0])}"
            )

    def _condition(self, number: int) -> Tensor:
        """Return what a block is made or kept under; nothing is asked for in a context."""
        if number in self._conditions:
            return self._conditions[number]
        empty = self._maker.layout.empty(self._maker.block).to(self._maker.device)
        return empty.expand(self.items, -1, -1)


def _shapes(stream: Mapping[str, Tensor], decoder: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    parts = {**stream, **{f"decoder.{name}": part for name, part in decoder.items()}}
    return {name: tuple(part.shape) for name, part in parts.items()}


def _under(prefix: str, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: part for name, part in parts.items() if name.startswith(prefix)}
