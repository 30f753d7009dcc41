"""Live music: audio from block-causal diffusion on the latents of a codec, streamed without a gap."""

from __future__ import annotations

from .audio import Audio, AudioError, read_audio, write_audio
from .chords import parse_chords
from .codec import Codec, LatentStatistics, reconstruct
from .codec_files import codec_from_description, load_codec
from .codec_storage import save_codec
from .codec_training import fit_light_codec
from .controls import Control, ControlLayout
from .corpus import RenderedCorpus, render_corpus
from .corpus_table import CorpusEntry, load_corpus
from .diffusion import LiveMusicDiffusion
from .embeddings import cut_clips, log_mel_embedding
from .encodec_codec import EncodecCodec
from .engine import EngineError, LiveEngine
from .engine_runs import paced_run, render_stream
from .judging import judge
from .light_codec import LightCodec
from .light_codec_refinement import refine_light_codec
from .metrics import drift, harmonic_histogram, jensen_shannon_distance, melodic_histogram
from .metrics_chroma import audio_pitch_classes, chroma_agreement, note_pitch_classes
from .metrics_frechet import frechet_distance, frechet_limit
from .metrics_memorisation import music_memorisation
from .metrics_notes import Notes, note_scores, onset_density, read_notes
from .playback import PlaybackError, play
from .plots import plot_chroma, plot_spectrogram, plot_stream, plot_training
from .pretrained import list_pretrained, pretrained_card
from .recordings import ClippingWarning
from .self_forcing import SelfForcing, self_force
from .server import RunningServer, create_app, running_server, serve
from .server_limits import ServerLimits
from .server_offer import Offer
from .session import MusicSession
from .session_stats import SessionStats
from .spectral_codec import SpectralCodec
from .speed import measure_speed
from .stream_stats import StreamStats
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
    "EngineError",
    "LatentStatistics",
    "LightCodec",
    "LiveEngine",
    "LiveMusicDiffusion",
    "MusicSession",
    "MusicTraining",
    "Notes",
    "Offer",
    "PlaybackError",
    "RenderedCorpus",
    "RunningServer",
    "SelfForcing",
    "ServerLimits",
    "SessionStats",
    "SpectralCodec",
    "StreamStats",
    "audio_pitch_classes",
    "chroma_agreement",
    "codec_from_description",
    "create_app",
    "cut_clips",
    "drift",
    "fit_light_codec",
    "fit_music_network",
    "frechet_distance",
    "frechet_limit",
    "harmonic_histogram",
    "jensen_shannon_distance",
    "judge",
    "list_pretrained",
    "load_codec",
    "load_corpus",
    "log_mel_embedding",
    "measure_speed",
    "melodic_histogram",
    "music_memorisation",
    "note_pitch_classes",
    "note_scores",
    "onset_density",
    "paced_run",
    "parse_chords",
    "play",
    "plot_chroma",
    "plot_spectrogram",
    "plot_stream",
    "plot_training",
    "pretrained_card",
    "read_audio",
    "read_notes",
    "reconstruct",
    "refine_light_codec",
    "render_corpus",
    "render_stream",
    "running_server",
    "save_codec",
    "self_force",
    "serve",
    "write_audio",
]
