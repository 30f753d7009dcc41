"""`LiveMusicDiffusion`: music learnt from recordings, made block by block, as pieces or as a live stream."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sciffusion.estimators.validation import check_boolean, check_choice, check_integer, check_number
from sciffusion.training.checkpoints import fingerprint

from .audio import Audio
from .control_input import check_given
from .music_model import MusicModel
from .pretrained import pretrained_file
from .recordings import load_recording
from .session import MusicSession
from .session_blocks import GRIDS, SOLVERS, BlockMaker, BlockRun
from .session_controls import ControlTrack

__all__ = ["LiveMusicDiffusion"]

_LONGEST_DELAY = 30.0


class LiveMusicDiffusion(MusicModel):
    r"""Block-causal diffusion on the latents of a codec: music that plays on, and answers.

    A codec turns sound into some 25 latent frames a second. A transformer learns to make the next block of
    frames from noise, given the clean blocks before it, whose keys and values are computed once. So an
    endless stream costs the same for every block, and what is asked of it (chroma, loudness, keys, tempo,
    style, another player's sound) may change from block to block.

    Parameters
    ----------
    codec : "light", path or Codec, default "light"
        "light" trains a codec on the recordings first (`fit_light_codec`); otherwise the file of a trained
        one, or a codec itself.
    codec_steps : int, default 2500
        Training steps of that codec.
    controls : sequence of str, default ("chroma", "loudness")
        What can be asked for: any of "chroma", "loudness", "roll", "tempo", "style", "partner". The first two
        are measured in recordings, the others come with them (see `fit`).
    styles : sequence of str, default ()
        Tags of the control "style"; found in the recordings' controls by default.
    variant : {"block_causal", "encoder_decoder"}, default "block_causal"
        Whether context is computed once for all blocks after it, or anew for each block.
    block : int, default 24
        Latent frames in a block.
    window : int, default 8
        Blocks that a frame sees, its own one included.
    width, depth, n_heads : int, default 256, 6, 4
        Size of the transformer.
    dropout : float, default 0
        In the transformer.
    train_blocks : int, optional
        Blocks in a window of training; twice the window by default.
    control_dropout : float, default 0.15
        Share of the clips in which all controls, and of each control in which it, and in which a piece of it,
        is hidden in training.
    history_dropout : float, default 0.2
        Share of the clips that begin without all of their history.
    clean_noise : float, default 0
        Largest standard deviation of noise on the history in training, against drift.
    learning_rate, weight_decay, batch_size, max_steps, warmup_steps, ema_decay, patience, validation_fraction
        Of training. A batch counts windows; of fewer than five recordings none is kept back, and training
        then takes all steps.
    nfe : int, default 8
        Network evaluations a block.
    solver : {"euler", "heun", "multistep"}, default "multistep"
        Makes the steps; "heun" has half as many. (Measured on a model of organ chorales that was still in
        training: blocks of 8 evaluations lay .036 standard deviations from the exact flow with "multistep",
        .072 with "euler"; of 4, .11 and .14.)
    grid : {"uniform", "sigmoid"}, default "uniform"
        Times of the steps. ("sigmoid", most of whose steps lie at high noise, was 1.5 to 2.2 times as far.)
    guidance : float, default 1
        Classifier-free guidance: 1 is the model itself, more follows controls further, at twice the cost.
    random_state : int, RandomState or None
        Source of all randomness of a fit. Draws have seeds of their own.
    device : str, default "auto"
        "auto", "cpu", "cuda", "cuda:N" or "mps".
    verbose : bool, default False
        Show bars.
    trainer_options : mapping, optional
        Keyword arguments of Lightning's Trainer.
    checkpoint : path, optional
        File from which a stopped fit goes on.

    Attributes
    ----------
    codec_ : Codec
        The codec.
    layout_ : ControlLayout
        What can be asked for.
    seed_, history_
        As in `DiffusionEstimator`.

    References
    ----------
    Z. Novack and others, "Live Music Diffusion Models: Efficient Fine-Tuning and Post-Training of Interactive
    Diffusion Music Generators", arXiv 2605.22717. M. Arriola and others, "Block Diffusion: Interpolating
    Between Autoregressive and Diffusion Language Models", arXiv 2503.09573. X. Liu, C. Gong and Q. Liu, "Flow
    Straight and Fast", arXiv 2209.03003.
    """

    def __init__(
        self,
        *,
        codec: Any = "light",
        codec_steps: int = 2500,
        controls: Sequence[str] = ("chroma", "loudness"),
        styles: Sequence[str] = (),
        variant: str = "block_causal",
        block: int = 24,
        window: int = 8,
        width: int = 256,
        depth: int = 6,
        n_heads: int = 4,
        dropout: float = 0.0,
        train_blocks: int | None = None,
        control_dropout: float = 0.15,
        history_dropout: float = 0.2,
        clean_noise: float = 0.0,
        learning_rate: float = 6e-4,
        weight_decay: float = 0.01,
        batch_size: int = 16,
        max_steps: int = 10_000,
        warmup_steps: int = 200,
        ema_decay: float = 0.999,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        nfe: int = 8,
        solver: str = "multistep",
        grid: str = "uniform",
        guidance: float = 1.0,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
        trainer_options: Mapping[str, Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        self.codec = codec
        self.codec_steps = codec_steps
        self.controls = controls
        self.styles = styles
        self.variant = variant
        self.block = block
        self.window = window
        self.width = width
        self.depth = depth
        self.n_heads = n_heads
        self.dropout = dropout
        self.train_blocks = train_blocks
        self.control_dropout = control_dropout
        self.history_dropout = history_dropout
        self.clean_noise = clean_noise
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.warmup_steps = warmup_steps
        self.ema_decay = ema_decay
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.nfe = nfe
        self.solver = solver
        self.grid = grid
        self.guidance = guidance
        self.random_state = random_state
        self.device = device
        self.verbose = verbose
        self.trainer_options = trainer_options
        self.checkpoint = checkpoint

    @classmethod
    def from_pretrained(cls, name: str) -> Self:
        """Return a published model that comes with the package.

        Parameters
        ----------
        name : str
            One of `list_pretrained`.

        Raises
        ------
        ValueError
            If there is no such model, with the names of those there are.
        """
        return cls.load(pretrained_file(name))

    # ---------------------------------------------------------------- pieces

    def sample(
        self,
        seconds: float,
        *,
        n: int = 1,
        prompt: Any = None,
        controls: Any = None,
        seed: int = 0,
        nfe: int | None = None,
        sample_rate: int | None = None,
    ) -> list[Audio]:
        """Make pieces.

        Parameters
        ----------
        seconds : float > 0
            Their length, to the nearest sample.
        n : int >= 1, default 1
            Pieces, made in one batch; each draws noise of its own.
        prompt : path-like, Audio or array-like, optional
            Sound that comes before, at least a block of it; its end is heard, and not part of the result.
        controls : mapping, or sequence of n mappings, optional
            What is asked for, of all pieces or of each: one value for all of the time, or rows, one a latent
            frame from the beginning on (see `sciffusion.domains.music.control_input`); "partner" is the
            recorded sound of another player.
        seed : int >= 0, default 0
            The same seed gives the same pieces, and those of `stream` sample for sample (one piece).
        nfe : int, optional
            Network evaluations a block, in place of the constructor's.
        sample_rate : int, optional
            Of sounds that are arrays.

        Returns
        -------
        list of Audio
            One channel at the codec's sample rate. As in `stream`, the first ``codec_.delay`` samples lie
            before the music: silence, or the end of the prompt.

        Raises
        ------
        ValueError, TypeError
            For a control that the model does not have, or anything else that cannot be used.
        """
        check_is_fitted(self)
        count = check_integer("n", n, low=1)
        maker, samples = self._maker(), self._samples(seconds)
        rows = self._control_rows(controls, count, sample_rate)
        context = None if prompt is None else self._context(maker, prompt, sample_rate, "prompt")
        sound = self._played(maker, rows, context, samples, self._checked_seed(seed), self._checked_nfe(nfe))
        return [Audio(one, maker.codec.sample_rate) for one in sound]

    def continue_audio(
        self,
        audio: Any,
        seconds: float,
        *,
        joined: bool = False,
        controls: Any = None,
        seed: int = 0,
        nfe: int | None = None,
        sample_rate: int | None = None,
    ) -> Audio:
        """Play on where a sound ends.

        Parameters
        ----------
        audio : path-like, Audio or array-like
            At least a block of sound.
        seconds : float > 0
            Length of the continuation.
        joined : bool, default False
            Return `audio`, as one channel at the codec's sample rate, with the continuation behind it; the
            codec's rendering of its last moment (``codec_.delay`` samples) is faded in over the original.
        controls, seed, nfe, sample_rate
            As in `sample`.

        Returns
        -------
        Audio
            The continuation alone, from the very end of `audio` on, unless `joined`.
        """
        check_is_fitted(self)
        maker, samples, joined = self._maker(), self._samples(seconds), check_boolean("joined", joined)
        rate, lag = maker.codec.sample_rate, maker.codec.delay
        rows = self._control_rows(controls, 1, sample_rate)
        given = load_recording(
            audio, rate, sample_rate=sample_rate, name="audio", shortest=maker.block_samples
        )
        sound = self._played(
            maker, rows, maker.context_latents(given), lag + samples, self._checked_seed(seed),
            self._checked_nfe(nfe),
        )[0]  # fmt: skip
        if not joined:
            return Audio(sound[lag:], rate)
        fade = min(lag, len(given))
        angle = np.linspace(0.0, np.pi / 2, fade, dtype=np.float32)
        # Both are the same sound: their weights, not the squares of these, add up to 1.
        rise = np.sin(angle) ** 2
        seam = (1.0 - rise) * given[len(given) - fade :] + rise * sound[lag - fade : lag]
        parts = [given[: len(given) - fade], np.clip(seam, -1.0, 1.0), sound[lag:]]
        return Audio(np.concatenate(parts), rate)

    # ---------------------------------------------------------------- live

    def stream(
        self,
        *,
        seed: int = 0,
        nfe: int | None = None,
        context: Any = None,
        controls: Mapping[str, Any] | None = None,
        ahead: float = 0.0,
        delay: float = 0.0,
        sample_rate: int | None = None,
    ) -> MusicSession:
        """Begin an endless piece.

        Parameters
        ----------
        seed : int >= 0, default 0
            The same seed, told the same at the same blocks, plays the same.
        nfe : int, optional
            Network evaluations a block, in place of the constructor's; `MusicSession.set` changes it.
        context : path-like, Audio or array-like, optional
            Sound that comes before, at least a block of it.
        controls : mapping, optional
            What is asked for from the beginning, as in `sample`.
        ahead : float in [0, 30], default 0
            With a partner: seconds by which the stream is made ahead of what he hears.
        delay : float in [0, 30], default 0
            With a partner: seconds by which his sound is moved towards the future. With a block or more, all
            that belongs to a block is known when it is made: an answer instead of a prediction.
        sample_rate : int, optional
            Of sounds that are arrays.

        Returns
        -------
        MusicSession
        """
        check_is_fitted(self)
        given = check_given(controls, self.layout_, "controls")
        rows = self._control_rows(given, 1, sample_rate)[0]
        maker = self._maker()
        return MusicSession(
            maker, seed=self._checked_seed(seed), nfe=self._checked_nfe(nfe), controls=rows,
            shown={name: value for name, value in given.items() if name != "partner"},
            context=None if context is None else self._context(maker, context, sample_rate, "context"),
            ahead=check_number("ahead", ahead, low=0.0, high=_LONGEST_DELAY),
            delay=check_number("delay", delay, low=0.0, high=_LONGEST_DELAY), model=self._fingerprint(),
        )  # fmt: skip

    # ---------------------------------------------------------------- inside

    def _check_generation(self) -> None:
        check_integer("nfe", self.nfe, low=1)
        check_choice("solver", self.solver, SOLVERS)
        check_choice("grid", self.grid, GRIDS)
        check_number("guidance", self.guidance, low=0.0)

    def _maker(self) -> BlockMaker:
        self._check_generation()
        training = self._settings_.training(self.layout_)
        network = self._on_device(self._network_)
        return BlockMaker(
            network, self.codec_.to(self._compute_device()), self.layout_, path=training.path,
            prediction=training.prediction, solver=self.solver, grid=self.grid, guidance=float(self.guidance),
        )  # fmt: skip

    def _played(
        self,
        maker: BlockMaker,
        rows: list[dict[str, Tensor]],
        context: Tensor | None,
        samples: int,
        seed: int,
        nfe: int,
    ) -> NDArray[np.float32]:
        """Return the first samples of pieces, ``(pieces, samples)``."""
        run = BlockRun(maker, len(rows), seed, context)
        tracks = [ControlTrack(self.layout_, maker.block, one) for one in rows]
        parts = []
        for number in range(-(-samples // maker.block_samples)):
            condition = torch.stack([track.of_block(number) for track in tracks])
            parts.append(run.advance(condition if self.layout_.width else None, nfe)[0])
        return np.concatenate(parts, axis=1)[:, :samples]

    def _control_rows(self, controls: Any, count: int, sample_rate: int | None) -> list[dict[str, Tensor]]:
        """Return what the network reads of the controls of each piece."""
        if controls is None or isinstance(controls, Mapping):
            given = check_given(controls, self.layout_, "controls")
            return [self._encoded_controls(given, sample_rate, self.codec_)] * count
        if isinstance(controls, str) or not isinstance(controls, Sequence) or len(controls) != count:
            raise ValueError(f"controls must be one mapping, or a list of {count}, one for each piece")
        return [
            self._encoded_controls(
                check_given(one, self.layout_, f"controls[{place}]"), sample_rate, self.codec_
            )
            for place, one in enumerate(controls)
        ]

    def _context(self, maker: BlockMaker, value: Any, sample_rate: int | None, name: str) -> Tensor:
        heard = load_recording(
            value, maker.codec.sample_rate, sample_rate=sample_rate, name=name, shortest=maker.block_samples
        )
        return maker.context_latents(heard)

    def _samples(self, seconds: float) -> int:
        length = check_number("seconds", seconds, low=0.0, open_low=True)
        return max(round(length * self.codec_.sample_rate), 1)

    def _checked_seed(self, seed: int) -> int:
        return check_integer("seed", seed, low=0, high=2**63 - 1)

    def _checked_nfe(self, nfe: int | None) -> int:
        return check_integer("nfe", self.nfe if nfe is None else nfe, low=1)

    def _fingerprint(self) -> str:
        """Return what states of sessions of this model are known by."""
        weights = self._network_.state_dict()
        given = {"solver": self.solver, "grid": self.grid, "guidance": float(self.guidance)}
        return fingerprint(given, [weights[name].cpu() for name in sorted(weights)])
