r"""How fast a machine makes music: seconds a block at several numbers of network evaluations.

The *real-time factor* is compute over audio time, the median over blocks; below 1 a stream can be heard
without end. A block of nfe K costs K + 1 evaluations of the network at most (the block before is written into
the cache along with the first of them) and one decoding, whatever was played before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from .audio import Audio
from .codec_training import fit_light_codec
from .diffusion import LiveMusicDiffusion

__all__ = ["measure_speed", "untrained_model"]

_RATE = 24_000


def measure_speed(
    model: LiveMusicDiffusion,
    nfes: Sequence[int] = (1, 2, 4, 8, 16),
    *,
    blocks: int = 12,
    progress: Callable[[int, int, str], object] | None = None,
) -> pd.DataFrame:
    """Time the blocks of streams whose window is full.

    Parameters
    ----------
    model : LiveMusicDiffusion
        Fitted.
    nfes : sequence of int
        Evaluations a block.
    blocks : int
        Blocks that are timed, after as many as the window holds.
    progress : callable, optional
        Called as ``progress(done, total, text)``.

    Returns
    -------
    DataFrame
        Columns ``nfe``, ``seconds`` (median), ``slowest``, ``block_seconds``, ``real_time_factor`` and
        ``cpu_factor`` (processor over audio time, all threads).
    """
    rows = []
    stream = model.stream(seed=0, nfe=1)
    for _ in range(int(model.window)):  # as dear as any later block from here on
        stream.step()
    length = stream.block_samples / stream.sample_rate
    for place, nfe in enumerate(nfes):
        stream.set(nfe=nfe)
        stream.step()
        begun = time.process_time()
        seconds = [stream.step().seconds for _ in range(blocks)]
        spent = time.process_time() - begun
        median = float(np.median(seconds))
        rows.append((nfe, median, max(seconds), length, median / length, spent / blocks / length))
        if progress is not None:
            progress(place + 1, len(nfes), f"nfe {nfe}")
    names = ["nfe", "seconds", "slowest", "block_seconds", "real_time_factor", "cpu_factor"]
    return pd.DataFrame(rows, columns=names)


def untrained_model(*, width: int = 256, depth: int = 6, device: str = "auto") -> LiveMusicDiffusion:
    """Return a model of a size, after one step on noise: it costs what a trained one does."""
    noise = np.random.default_rng(0).standard_normal((2, 40 * _RATE)).astype(np.float32)
    recordings = [Audio(0.1 * one, _RATE) for one in noise]
    codec = fit_light_codec([recordings[0]], max_steps=1, batch_size=1)
    model = LiveMusicDiffusion(
        codec=codec, width=width, depth=depth, n_heads=4, max_steps=1, batch_size=1, random_state=0,
        device=device,
    )  # fmt: skip
    model.fit(recordings)
    return model
