"""Pictures of music: spectrograms with the notes in them, chroma, training, and how a stream kept up.

Every function draws on given matplotlib Axes (or makes some) and returns the Figure. Colours are those of
Okabe and Ito, which colour-blind readers can tell apart. matplotlib is of the extra ``plots`` and is
imported when a function is called.
"""

from __future__ import annotations

from .plots_sound import plot_chroma, plot_spectrogram
from .plots_stream import plot_stream
from .plots_training import plot_training

__all__ = ["plot_chroma", "plot_spectrogram", "plot_stream", "plot_training"]
