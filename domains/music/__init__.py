"""Live music: audio from block-causal diffusion on the latents of a codec, streamed without a gap."""

from __future__ import annotations

from .audio import Audio, AudioError, read_audio, write_audio
from .codec import Codec, LatentStatistics, reconstruct
from .codec_files import codec_from_description, load_codec, save_codec
from .codec_training import fit_light_codec
from .controls import Control, ControlLayout
from .corpus import CorpusEntry, RenderedCorpus, load_corpus, render_corpus
from .diffusion import LiveMusicDiffusion
from .encodec_codec import EncodecCodec
from .light_codec import LightCodec
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
    "EncodecCodec",
    "LatentStatistics",
    "LightCodec",
    "LiveMusicDiffusion",
    "MusicSession",
    "MusicTraining",
    "RenderedCorpus",
    "SessionStats",
    "SpectralCodec",
    "codec_from_description",
    "fit_light_codec",
    "fit_music_network",
    "list_pretrained",
    "load_codec",
    "load_corpus",
    "pretrained_card",
    "read_audio",
    "reconstruct",
    "render_corpus",
    "save_codec",
    "write_audio",
]
