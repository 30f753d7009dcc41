"""Live music: audio from block-causal diffusion on the latents of a codec, streamed without a gap."""

from __future__ import annotations

from .audio import Audio, AudioError, read_audio, write_audio
from .codec import Codec, LatentStatistics, reconstruct
from .controls import Control, ControlLayout
from .corpus import CorpusEntry, RenderedCorpus, load_corpus, render_corpus
from .spectral_codec import SpectralCodec
from .training import MusicTraining, fit_music_network
from .training_controls import ControlDropout

__all__ = [
    "Audio",
    "AudioError",
    "Codec",
    "Control",
    "ControlDropout",
    "ControlLayout",
    "CorpusEntry",
    "LatentStatistics",
    "MusicTraining",
    "RenderedCorpus",
    "SpectralCodec",
    "fit_music_network",
    "load_corpus",
    "read_audio",
    "reconstruct",
    "render_corpus",
    "write_audio",
]
