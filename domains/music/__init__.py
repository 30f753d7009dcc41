"""Live music: audio from block-causal diffusion on the latents of a codec, streamed without a gap."""

from __future__ import annotations

from .audio import Audio, AudioError, read_audio, write_audio
from .codec import Codec, LatentStatistics, reconstruct
from .controls import Control, ControlLayout
from .corpus import CorpusEntry, RenderedCorpus, load_corpus, render_corpus
from .diffusion import LiveMusicDiffusion
from .pretrained import list_pretrained, pretrained_card
from .recordings import ClippingWarning
from .session import MusicSession
from .session_stats import SessionStats
from .spectral_codec import SpectralCodec
from .training import MusicTraining, fit_music_network
from .training_controls import ControlDropout

__all__ = [
    "Audio",
    "AudioError",
    "ClippingWarning",
    "Codec",
    "Control",
    "ControlDropout",
    "ControlLayout",
    "CorpusEntry",
    "LatentStatistics",
    "LiveMusicDiffusion",
    "MusicSession",
    "MusicTraining",
    "RenderedCorpus",
    "SessionStats",
    "SpectralCodec",
    "fit_music_network",
    "list_pretrained",
    "load_corpus",
    "pretrained_card",
    "read_audio",
    "reconstruct",
    "render_corpus",
    "write_audio",
]
