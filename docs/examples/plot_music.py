r"""
Music that plays on: memory, streams, and chords on demand
==========================================================

A model of sound makes one block after another. What it needs of the past, the keys and values of its
attention, is computed once for every block and kept, so the next block costs the same however long it has
been playing. This example fits a very small model to simulated chords and shows that the stream is exactly
the piece that would be made at once, and what its memory saves.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import torch

from sciffusion.domains.music import Audio, LiveMusicDiffusion, SpectralCodec, plot_spectrogram
from sciffusion.networks import BlockLatentTransformer

# %%
# Recordings
# ----------
#
# Slow tones that step through the notes of a chord, F major or G major: simulated, so that it takes no time
# and everyone knows what is right. The codec needs no training: it keeps the lowest cosine coefficients of
# each frame of 40 ms.

RATE, HOP = 4_000, 160
generator = np.random.default_rng(0)


def tones(pitches: list[int], count: int) -> Audio:
    """Return tones of half a second, drawn from some pitches."""
    times = np.arange(RATE // 2) / RATE
    rise = np.minimum(1.0, np.minimum(times, times[::-1]) / 0.03)
    drawn = 440.0 * 2 ** ((generator.choice(pitches, count) - 69) / 12)
    return Audio(
        np.concatenate([0.3 * rise * np.sin(2 * np.pi * one * times) for one in drawn]).astype("f4"), RATE
    )


chords = {"F": [65, 69, 72], "G": [62, 67, 71]}
recordings = [tones(chords[name], 24) for name in ("F", "G") * 6]
styles = [{"style": name} for name in ("F", "G") * 6]

# %%
# A model
# -------
#
# Twelve recordings, a network of some ten thousand weights, and few steps: enough for what follows, not for
# music.

model = LiveMusicDiffusion(
    codec=SpectralCodec(RATE, HOP, 48), controls=("style",), block=6, window=4, width=48, depth=2, n_heads=2,
    batch_size=8, max_steps=160, warmup_steps=20, learning_rate=6e-3, ema_decay=0.97, validation_fraction=0.0,
    nfe=8, random_state=0, device="cpu",
)  # fmt: skip
model.fit(recordings, styles)
block_seconds = model.block * HOP / RATE

# %%
# A stream is the piece itself
# ----------------------------
#
# The stream is told of a change at its twentieth block. Made at once, the same piece is asked for the same
# in the same frames. Noise belongs to a seed and a block, not to the moment, so both are equal.

session = model.stream(seed=1, controls={"style": "F"})
blocks = []
for block in range(40):
    if block == 20:
        session.set(style="G")
    blocks.append(session.step())
stream = np.concatenate([one.samples for one in blocks])

asked = np.zeros((40 * model.block, 2))
asked[: 20 * model.block, model.layout_.styles.index("F")] = 1.0
asked[20 * model.block :, model.layout_.styles.index("G")] = 1.0
whole = model.sample(40 * block_seconds, seed=1, controls={"style": asked})[0]
print(f"largest difference: {np.abs(whole.samples - stream).max():.1e}")

# %%
# A stream that is stopped, stored and taken up again elsewhere plays on as if nothing had happened.

first = model.stream(seed=1, controls={"style": "F"})
for _ in range(10):
    first.step()
second = model.stream()
second.load_state_dict(first.state_dict())
print("the next block is the same:", np.array_equal(second.step().samples, blocks[10].samples))

# %%
# What memory saves
# -----------------
#
# A network of the same kind is asked for its prediction of a noisy block behind a long past: with the keys
# and values of the past in its memory it evaluates the new block alone, without them all of it. The two
# agree to rounding, and the more past there is, the more is saved. A stream does so at every evaluation.

block, width = model.block, 48
network = BlockLatentTransformer(width, block=block, window=100, width=48, depth=2, n_heads=2).eval()
noise = torch.Generator().manual_seed(0)
for weights in network.parameters():  # new networks answer 0, which would be equal to itself in any case
    torch.nn.init.normal_(weights, std=0.2, generator=noise)


def timed(ask: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    """Return an answer, and the processor time that one takes."""
    answer = ask()
    begun = time.process_time()
    for _ in range(10):
        ask()
    return answer, (time.process_time() - begun) / 10


def compare(count: int) -> tuple[float, float]:
    """Return the times of an evaluation behind so many blocks, with memory and without."""
    values = torch.randn(1, (count + 1) * block, width, generator=noise)
    times = torch.zeros(1, (count + 1) * block)
    times[:, -block:] = 0.7
    memory = network.commit(values[:, :-block], None, network.start_cache(1))
    short, with_memory = timed(lambda: network(values[:, -block:], times[:, -block:], cache=memory))
    whole, without = timed(lambda: network(values, times)[:, -block:])
    print(f"{count} blocks of past: {without / with_memory:.1f} times as fast, "
          f"answers of {whole.std():.1f} differ by {(short - whole).abs().max():.0e}")  # fmt: skip
    return with_memory, without


history = (10, 20, 40, 80)
with torch.inference_mode():
    with_memory, without = np.array([compare(count) for count in history]).T

# %%
# What sounds
# -----------
#
# Below the cost, the piece with the change in its middle: the tones of one chord give way to those of the
# other, a block after they were asked for.

figure, (cost, sound) = plt.subplots(2, 1, figsize=(8.4, 5.6), layout="constrained", height_ratios=[1, 1.5])
past = np.array(history) * block_seconds
cost.plot(past, 1e3 * without, "o-", color="#D55E00", label="all of it again")
cost.plot(past, 1e3 * with_memory, "o-", color="#0072B2", label="with memory")
cost.set(xlabel="seconds of past", ylabel="ms an evaluation", ylim=(0, None))
cost.legend(frameon=False)
cost.spines[["top", "right"]].set_visible(False)
plot_spectrogram(Audio(stream, RATE), lowest=220.0, highest=700.0, decibels=40.0, ax=sound)
sound.axvline(20 * block_seconds, color="white", linestyle=":")
for name, place in (("F A C", 10), ("D G B", 30)):
    sound.text(place * block_seconds, np.log2(640.0), f"asked for {name}", color="white", ha="center")
plt.show()
