"""What a music model is made of: reading and encoding recordings, training, scoring, saving; no sound yet."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from sciffusion.estimators.base import DiffusionEstimator
from sciffusion.estimators.fitting import all_or_nothing
from sciffusion.estimators.validation import check_choice, check_integer, check_number
from sciffusion.networks import BlockLatentTransformer
from sciffusion.training import TrainingOptions

from .audio import Audio
from .codec import Codec
from .codec_files import codec_from_description, load_codec
from .codec_training import fit_light_codec
from .control_input import build_layout, check_given, encode_control, ending_rows
from .controls import Control, ControlLayout
from .recordings import (
    encode_recordings,
    list_recordings,
    load_recording,
    recorded_conditions,
    recording_name,
)
from .scoring import held_out_loss
from .training import MusicTraining, fit_music_network
from .training_controls import ControlDropout

__all__ = ["VARIANTS", "MusicModel", "MusicSettings"]

#: How blocks are attended to (see `BlockNetwork`).
VARIANTS = ("block_causal", "encoder_decoder")

_MEASURED = ("chroma", "loudness")  # in recordings; other controls are given with them
_NETWORK, _SPLIT, _CODEC, _SCORE = range(4)  # numbers of the private random streams
_EVALUATE_EVERY = 250
_FEWEST_TO_HOLD_OUT = 5  # recordings; of fewer none is kept back
_CODEC_SECONDS = 3600.0
_NETWORK_PREFIX, _CODEC_PREFIX = "network.", "codec."


@dataclass(frozen=True)
class MusicSettings:
    """Checked hyper-parameters of network and training.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter that is wrong.
    """

    variant: str
    block: int
    window: int
    width: int
    depth: int
    n_heads: int
    dropout: float
    train_blocks: int | None
    control_dropout: float
    history_dropout: float
    clean_noise: float
    learning_rate: float
    weight_decay: float
    batch_size: int
    max_steps: int
    warmup_steps: int
    ema_decay: float
    patience: int | None
    validation_fraction: float

    def __post_init__(self) -> None:
        check_choice("variant", self.variant, VARIANTS)
        for name in ("block", "width", "depth", "n_heads", "batch_size", "max_steps"):
            check_integer(name, getattr(self, name), low=1)
        check_integer("window", self.window, low=2)
        check_integer("warmup_steps", self.warmup_steps, low=0)
        for name, low in (("train_blocks", 2), ("patience", 1)):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), low=low)
        if self.width % (2 * self.n_heads):
            raise ValueError(
                f"width must be a multiple of 2 * n_heads = {2 * self.n_heads}, got {self.width}"
            )
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_number("clean_noise", self.clean_noise, low=0.0)
        check_number("history_dropout", self.history_dropout, low=0.0, high=1.0)
        for name in ("dropout", "control_dropout", "ema_decay", "validation_fraction"):
            check_number(name, getattr(self, name), low=0.0, high=1.0, open_high=True)

    @classmethod
    def of(cls, estimator: Any) -> MusicSettings:
        """Read the parameters of an estimator that has them all."""
        return cls(**{field.name: getattr(estimator, field.name) for field in fields(cls)})

    def network(self, channels: int, n_conditions: int) -> nn.Module:
        """Return a new network; its weights come from torch's global stream."""
        variant: Any = self.variant
        return BlockLatentTransformer(
            channels, variant=variant, block=self.block, window=self.window, width=self.width,
            depth=self.depth, n_heads=self.n_heads, n_conditions=n_conditions, dropout=self.dropout,
        )  # fmt: skip

    def training(self, layout: ControlLayout) -> MusicTraining:
        """Return what windows are and what is left out of them."""
        share = self.control_dropout
        # A partner's future is unknown; with a delay, a whole block of it is known.
        late = {"partner": (-self.block, self.block)} if "partner" in layout.names else {}
        return MusicTraining(
            n_blocks=self.train_blocks, history=self.history_dropout, clean_noise=self.clean_noise,
            controls=ControlDropout(all=share, each=share, piece=share, late=late),
        )  # fmt: skip

    def options(self) -> TrainingOptions:
        """Return what the training loop is told."""
        return TrainingOptions(
            max_steps=self.max_steps, batch_size=self.batch_size, learning_rate=self.learning_rate,
            weight_decay=self.weight_decay, warmup_steps=min(self.warmup_steps, self.max_steps),
            learning_rate_schedule="cosine", ema_decay=self.ema_decay, evaluate_every=_EVALUATE_EVERY,
            patience=self.patience,
        )  # fmt: skip


class EncodedMusic(NamedTuple):
    """Recordings as the network sees them.

    Parameters
    ----------
    latents : list of Tensor, each of shape ``(frames, channels)``
        Normalised.
    conditions : list of Tensor, each of shape ``(frames, width)``, or None
        None for a model without controls.
    """

    latents: list[Tensor]
    conditions: list[Tensor] | None

    def some(self, places: Sequence[int]) -> EncodedMusic:
        """Return some of the recordings."""
        latents = [self.latents[place] for place in places]
        if self.conditions is None:
            return EncodedMusic(latents, None)
        return EncodedMusic(latents, [self.conditions[place] for place in places])


class MusicModel(DiffusionEstimator):
    """Base of `LiveMusicDiffusion`."""

    codec: Any
    codec_steps: int
    controls: Sequence[str]
    styles: Sequence[str]

    codec_: Codec
    layout_: ControlLayout
    _network_: Any
    _settings_: MusicSettings

    # ---------------------------------------------------------------- fitting

    @all_or_nothing
    def fit(
        self,
        recordings: Any,
        controls: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        sample_rate: int | None = None,
        validation: Any = None,
        validation_controls: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> Any:
        """Fit the model.

        Parameters
        ----------
        recordings : sequence of path-like, Audio or array-like
            Sound files, or samples of shape ``(samples,)`` or ``(samples, channels)``.
        controls : sequence of mapping, optional
            What is known of each recording: "style", "tempo", "roll" (a MIDI file, notes or frames) and
            "partner" (another recording of the same time), of those controls that the model has. Chroma and
            loudness are measured.
        sample_rate : int, optional
            Of recordings that are arrays.
        validation : sequence, optional
            Recordings by which training is watched; by default a share of `recordings`.
        validation_controls : sequence of mapping, optional
            What is known of these.

        Returns
        -------
        LiveMusicDiffusion
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            If recordings, controls or a parameter cannot be used; a model fitted before is then left as it
            was.

        Warns
        -----
        ClippingWarning
            If a recording is clipped.
        """
        settings = MusicSettings.of(self)
        self._check_generation()
        listed = list_recordings(recordings)
        given = _listed_controls(controls, len(listed), "controls")
        _check_known(build_layout(self.controls, self._tags(given), 1), given)
        self.seed_ = self._new_seed()
        self.codec_ = self._found_codec(listed, sample_rate)
        self.layout_ = build_layout(self.controls, self._tags(given), self.codec_.channels)
        self._settings_ = settings
        music = self._encoded(listed, given, sample_rate, "recordings", "controls")
        if validation is None:
            kept, back = self._split(music)
        else:
            watched = list_recordings(validation, "validation")
            back = self._encoded(
                watched, _listed_controls(validation_controls, len(watched), "validation_controls"),
                sample_rate, "validation", "validation_controls",
            )  # fmt: skip
            kept = music
        with self._private_streams(_NETWORK):
            self._network_ = settings.network(self.codec_.channels, self.layout_.width)
        self.history_ = fit_music_network(
            self._network_, kept.latents, kept.conditions, options=settings.options(), seed=self.seed_,
            layout=self.layout_, held_out=back, training=settings.training(self.layout_), train=self._train,
        )  # fmt: skip
        self._network_.eval()
        return self

    def score(
        self,
        recordings: Any,
        controls: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        sample_rate: int | None = None,
    ) -> float:
        """Return minus the loss on recordings: higher is better.

        The loss is the mean squared error of the flow a normalised latent number, over windows spread evenly
        over the recordings, with all controls that are known and the same noise at every call.

        Parameters
        ----------
        recordings, controls, sample_rate
            As in `fit`.
        """
        check_is_fitted(self)
        listed = list_recordings(recordings)
        given = _listed_controls(controls, len(listed), "controls")
        music = self._encoded(listed, given, sample_rate, "recordings", "controls")
        seed = int(self._generator(_SCORE).initial_seed())
        return -held_out_loss(
            self._on_device(self._network_), music.latents, music.conditions, layout=self.layout_,
            training=self._settings_.training(self.layout_), seed=seed,
        )  # fmt: skip

    def _check_generation(self) -> None:
        """Refuse wrong parameters of generation before a fit; a subclass knows them."""

    def _tags(self, given: Sequence[Mapping[str, Any]]) -> Sequence[str]:
        """Return the tags of styles, learnt from the recordings where they are not given."""
        tags: Any = self.styles
        known = isinstance(tags, str) or not isinstance(tags, Sequence) or len(tags) > 0
        if known or not isinstance(self.controls, Sequence) or "style" not in self.controls:
            return tags  # type: ignore[no-any-return]
        return sorted({one["style"] for one in given if isinstance(one.get("style"), str)})

    def _found_codec(self, listed: list[Any], sample_rate: int | None) -> Codec:
        """Return the codec that was given, read or asked for."""
        if isinstance(self.codec, Codec):
            return self.codec.to("cpu")
        if isinstance(self.codec, str | os.PathLike) and self.codec != "light":
            return load_codec(self.codec)
        if self.codec != "light":
            raise TypeError(
                f"codec must be 'light', the file of a codec, or a Codec, got {type(self.codec).__name__}"
            )
        check_integer("codec_steps", self.codec_steps, low=1)
        checkpoint = None if self.checkpoint is None else f"{os.fspath(self.checkpoint)}.codec"
        return fit_light_codec(
            list(self._excerpts(listed, sample_rate)), max_steps=self.codec_steps,
            seed=int(self._generator(_CODEC).initial_seed() % 2**31), device=self._compute_device(),
            verbose=bool(self.verbose), checkpoint=checkpoint, trainer_options=self.trainer_options,
        ).to("cpu")  # fmt: skip

    def _excerpts(self, listed: list[Any], sample_rate: int | None, rate: int = 24_000) -> Iterator[Audio]:
        """Yield recordings in a random order, an hour at most; all of them are checked."""
        seconds = 0.0
        for place in torch.randperm(len(listed), generator=self._generator(_CODEC)).tolist():
            samples = load_recording(
                listed[place], rate, sample_rate=sample_rate, name=recording_name(listed[place], place)
            )
            if seconds < _CODEC_SECONDS:
                yield Audio(samples, rate)
            seconds += len(samples) / rate

    def _encoded(
        self, listed: list[Any], given: list[dict[str, Any]], sample_rate: int | None, name: str, label: str
    ) -> EncodedMusic:
        """Encode recordings and their controls; everything is checked on the way."""
        layout, device = self.layout_, self._compute_device()
        codec = self.codec_.to(device)
        shortest = self._settings_.block * codec.hop
        known = [
            self._encoded_controls(check_given(one, layout, f"{label}[{place}]"), sample_rate, codec)
            for place, one in enumerate(given)
        ]
        samples = (
            load_recording(
                value, codec.sample_rate, sample_rate=sample_rate, shortest=shortest,
                name=recording_name(value, place, name),
            )
            for place, value in enumerate(listed)
        )  # fmt: skip
        latents, conditions = [], []
        encoded = encode_recordings(codec, samples, len(listed), device=device, verbose=bool(self.verbose))
        for place, (audio, one) in enumerate(encoded):
            latents.append(one)
            conditions.append(recorded_conditions(layout, known[place], audio, codec, len(one)))
        return EncodedMusic(latents, conditions if layout.width else None)

    def _encoded_controls(
        self, given: Mapping[str, Any], sample_rate: int | None, codec: Codec
    ) -> dict[str, Tensor]:
        """Return what the network reads of the controls of one piece."""
        rows = {}
        for name, value in given.items():
            if name == "partner":
                samples = load_recording(
                    value, codec.sample_rate, sample_rate=sample_rate, name="the control 'partner'"
                )
                device = self._compute_device()
                placed = codec.to(device)
                latents = next(encode_recordings(placed, [samples], 1, device=device))[1]
                rows[name] = ending_rows(latents)
            else:
                rows[name] = encode_control(self.layout_, name, value, codec.sample_rate / codec.hop)
        return rows

    def _split(self, music: EncodedMusic) -> tuple[EncodedMusic, EncodedMusic | None]:
        """Keep a share of the recordings back."""
        total = len(music.latents)
        count = round(self._settings_.validation_fraction * total)
        if total < _FEWEST_TO_HOLD_OUT or count == 0:
            return music, None
        order = torch.randperm(total, generator=self._generator(_SPLIT)).tolist()
        return music.some(sorted(order[count:])), music.some(sorted(order[:count]))

    # ---------------------------------------------------------------- persistence

    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        weights, description = self.codec_.description()
        tensors = {_NETWORK_PREFIX + name: value for name, value in self._network_.state_dict().items()}
        tensors |= {_CODEC_PREFIX + name: value for name, value in weights.items()}
        return tensors, {
            "codec": description,
            "codec_given": isinstance(self.codec, Codec),
            "settings": asdict(self._settings_),
            "sizes": dict(self._network_.sizes),
            "controls": [[control.name, control.width] for control in self.layout_.controls],
            "styles": list(self.layout_.styles),
        }

    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        self.codec_ = codec_from_description(_under(_CODEC_PREFIX, tensors), values["codec"])
        if values["codec_given"]:
            self.codec = self.codec_
        self._settings_ = MusicSettings(**values["settings"])
        controls = tuple(Control(str(name), int(width)) for name, width in values["controls"])
        self.layout_ = ControlLayout(controls, tuple(values["styles"]))
        self._network_ = BlockLatentTransformer(**values["sizes"])
        self._network_.load_state_dict(_under(_NETWORK_PREFIX, tensors))
        self._network_.eval()

    def _storable_parameters(self) -> dict[str, Any]:
        if not isinstance(self.codec, Codec):
            return super()._storable_parameters()
        # The codec itself lies in the file, among what was fitted.
        plain = type(self)(**{**self.get_params(deep=False), "codec": "light"})
        return super(MusicModel, plain)._storable_parameters()


def _check_known(layout: ControlLayout, given: Sequence[Mapping[str, Any]]) -> None:
    """Refuse controls that the model does not have, and ones of which nothing is known to learn from."""
    for place, one in enumerate(given):
        check_given(one, layout, f"controls[{place}]")
    for name in layout.names:
        if name not in _MEASURED and all(one.get(name) is None for one in given):
            raise ValueError(
                f"the model has the control {name!r}, but no recording comes with it: give it in controls=, "
                "or leave it out of the estimator's controls"
            )


def _listed_controls(controls: Any, count: int, name: str) -> list[dict[str, Any]]:
    """Return one mapping a recording."""
    if controls is None:
        return [{} for _ in range(count)]
    if isinstance(controls, Mapping | str) or not hasattr(controls, "__len__"):
        raise TypeError(f"{name} must be a list with one mapping a recording, got {type(controls).__name__}")
    if len(controls) != count:
        raise ValueError(f"{name} must have one mapping a recording, got {len(controls)} for {count}")
    for place, one in enumerate(controls):
        if not (one is None or isinstance(one, Mapping)):
            raise TypeError(f"{name}[{place}] must be a mapping of controls, got {type(one).__name__}")
    return [{} if one is None else dict(one) for one in controls]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
