r"""The published recipe: one joint diffusion of log time and event label.

*SDPM: Survival Diffusion Probabilistic Model for Continuous-Time Survival Analysis* (Kirpichenko,
Konstantinov and Utkin, arXiv 2605.22776). The pair :math:`y_0 = (\tau, l)` of the standardised log time and a
noisy label, :math:`l \sim N(\pm 1, .25^2)` with + for an event, drawn anew in every batch, is diffused on the
discrete cosine schedule with N points; the network predicts the noise under the plain squared error, and
ancestral sampling makes N - 1 steps. A draw is an event if :math:`l > 0`.

What the publication tunes on every data set is fixed here to its most frequent or median choice. Two things
differ in detail: indicator columns are standardised and pass through the periodic map like all others, and
the noise at which validation curves are drawn is the same at every epoch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import skip_init

from sciffusion.continuous import AncestralDDPM, Cosine, DenoisingObjective, NetworkDenoiser, WhiteNoise
from sciffusion.networks import sinusoidal_embedding
from sciffusion.sampling import State, sample
from sciffusion.training import TrainingHistory, TrainingOptions

from .draws import Draws, Train
from .members import split_members
from .settings import Settings
from .time_transform import LogTransform

__all__ = ["PaperDiffusion"]

Floats = NDArray[np.float64]

_LABEL_STD = 0.25
_SHIFT = 0.005
_FREQUENCIES = 8
_FREQUENCY_STD = 0.035
_TIME_WIDTH = 16
_UNVALIDATED_EPOCHS = 100
_VALIDATION_DRAWS = 256


class _PaperNetwork(nn.Module):
    """Perceptron of periodic features of the covariates and of the state, and of the embedded step.

    The first layer is kept in three parts, so that the part of the covariates is computed once a patient.
    """

    def __init__(self, n_features: int, settings: Settings, generator: torch.Generator) -> None:
        super().__init__()
        self.points = settings.nfe + 1
        spread = torch.randn(n_features + 2, _FREQUENCIES, generator=generator, dtype=torch.float32)
        self.frequencies = nn.Parameter(_FREQUENCY_STD * spread.clamp(-3.0, 3.0))
        widths = (2 * _FREQUENCIES * n_features, 2 * _FREQUENCIES * 2, _TIME_WIDTH)
        self.from_covariates, self.from_state, self.from_step = (
            _linear(width, settings.width, generator, fan_in=sum(widths)) for width in widths
        )
        layers: list[nn.Module] = []
        for place in range(settings.depth - 1):
            if place > 0:
                layers.append(_linear(settings.width, settings.width, generator))
            layers += [nn.LayerNorm(settings.width, dtype=torch.float32), nn.SiLU()]
            if place == 0 or (place == settings.depth - 2 and settings.depth > 3):
                layers.append(nn.Dropout(settings.dropout))
        self.layers = nn.Sequential(*layers, _linear(settings.width, 2, generator))

    def encode(self, covariates: Tensor) -> Tensor:
        """Return the part of the first layer that depends on the covariates alone."""
        encoded: Tensor = self.from_covariates(_periodic(covariates, self.frequencies[:-2]))
        return encoded

    def forward(self, x: Tensor, time: Tensor, encoded: Tensor) -> Tensor:
        """Predict the noise from the state, the time and what `encode` returned."""
        state = self.from_state(_periodic(x, self.frequencies[-2:]))
        step = self.from_step(sinusoidal_embedding(time * self.points, _TIME_WIDTH))
        result: Tensor = self.layers(encoded + state + step)
        return result


def _periodic(values: Tensor, frequencies: Tensor) -> Tensor:
    angles = 2.0 * math.pi * values[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1).flatten(-2)


def _linear(
    n_inputs: int, n_outputs: int, generator: torch.Generator, *, fan_in: int | None = None
) -> nn.Linear:
    """Return a linear layer with torch's usual starting weights, drawn from a private generator."""
    layer = skip_init(nn.Linear, n_inputs, n_outputs, dtype=torch.float32)  # type: ignore[no-untyped-call]
    bound = (n_inputs if fan_in is None else fan_in) ** -0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    assert isinstance(layer, nn.Linear)
    return layer


class PaperDiffusion:
    """A fitted model of the published recipe.

    Attributes
    ----------
    transform : LogTransform
        Standardisation of the log times.
    network : nn.Module
        Predicts the noise.
    """

    noise_dim = 2
    fewest_draws = 1

    transform: LogTransform
    network: _PaperNetwork

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.path = Cosine(shift=_SHIFT, alpha_min=0.0)

    def fit(
        self,
        features: NDArray[np.float32],
        times: Floats,
        events: NDArray[np.bool_],
        weights: Floats,
        generator: torch.Generator,
        train: Train,
    ) -> dict[str, TrainingHistory]:
        """Learn from encoded rows (see `RankDiffusion.fit`)."""
        self.transform = LogTransform.learn(times, weights)
        self.network = _PaperNetwork(features.shape[1], self.settings, generator)
        flags = torch.from_numpy(events)
        split = split_members(flags, 1, self.settings.validation_fraction, generator)
        kept = split.held_out[0].numpy()
        rows = split.training[:, 0]
        data = (
            torch.from_numpy(features)[rows],
            torch.from_numpy(self.transform.forward(times)).float()[rows],
            torch.where(flags, 1.0, -1.0).float()[rows],
            torch.from_numpy(weights).float()[rows],
        )
        judge = _Validation(self, features[kept], times[kept], events[kept], generator)
        options = self._training_options(len(data[0]))
        return {
            "joint": train(
                self.network, self._objective, data, options=options, held_out=judge, description="joint"
            )
        }

    def _training_options(self, n_rows: int) -> TrainingOptions:
        settings = self.settings
        epoch = -(-n_rows // min(settings.batch_size, n_rows))
        steps = settings.steps(n_rows)
        return TrainingOptions(
            max_steps=steps,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            evaluate_every=epoch,
            evaluate_from=min(_UNVALIDATED_EPOCHS * epoch, steps - 1),
            patience=settings.patience,
            gradient_clip=1.0,
        )

    def _objective(self, network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
        features, log_time, sign, weight = batch
        device = features.device
        label = sign + _LABEL_STD * torch.randn(
            len(sign), generator=stream, device=device, dtype=torch.float32
        )
        clean = torch.stack([log_time, label], dim=-1)
        noise = torch.randn(clean.shape, generator=stream, device=device, dtype=torch.float32)
        points = self.settings.nfe + 1
        step = torch.randint(1, points, (len(clean),), generator=stream, device=device)
        denoiser = NetworkDenoiser(network, self.path, "eps")
        assert isinstance(network, _PaperNetwork)
        encoded = network.encode(features)
        loss = DenoisingObjective(self.path)(denoiser, clean, step / points, noise, encoded).mean(dim=-1)
        return (loss * weight).sum() / weight.sum().clamp_min(1e-12)

    def draw(
        self,
        features: NDArray[np.float32],
        start: Tensor,
        nfe: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> Draws:
        """Generate observations (see `RankDiffusion.draw`); ``start`` has one member and dimension 2.

        Rows that share their starting noise share that of the steps, which ``generator`` draws.

        The schedule belongs to the training, so ``nfe`` must be the one that the model was fitted with.
        """
        if nfe != self.settings.nfe:
            raise ValueError(
                f"recipe='paper' was fitted with nfe={self.settings.nfe} and its discrete schedule has only "
                f"these steps; got nfe={nfe}"
            )
        rows, draws = len(features), start.shape[2]
        grid = torch.arange(nfe, -1, -1, dtype=torch.float64) / (nfe + 1)
        with torch.inference_mode():
            encoded = self.network.encode(torch.from_numpy(features).to(device))
            noise = start[0].to(device).expand(rows, -1, -1).reshape(rows * draws, 2)
            result = sample(
                NetworkDenoiser(self.network, self.path, "eps"),
                AncestralDDPM(noise=_SharedNoise(draws) if start.shape[1] == 1 else None),
                grid,
                state=State(noise),
                condition=encoded.repeat_interleave(draws, dim=0),
                generator=generator,
            ).samples
        values = result.cpu().numpy().astype(np.float64).reshape(rows, draws, 2)
        return Draws(self.transform.inverse(values[..., 0]), (values[..., 1] > 0.0).astype(np.float64))

    observe = draw

    def networks(self) -> dict[str, nn.Module]:
        """Return the network by its name."""
        return {"joint": self.network}

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-able values from which `restore` rebuilds the model."""
        return dict(self.network.state_dict()), {"transform": self.transform.to_dict()}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take up what `to_state` returned."""
        self.transform = LogTransform.from_dict(values["transform"])
        n_features = tensors["frequencies"].shape[0] - 2
        self.network = _PaperNetwork(n_features, self.settings, torch.Generator().manual_seed(0))
        self.network.load_state_dict(tensors)
        self.network.eval()


class _SharedNoise:
    """Noise of the steps that is the same for all rows, so that no row depends on its company."""

    def __init__(self, draws: int) -> None:
        self._draws = draws

    def draw(self, like: Tensor, generator: torch.Generator | None, t: Tensor, t_next: Tensor) -> Tensor:
        """Return noise for a state of shape ``(rows * draws, dimension)``."""
        dim = like.shape[1]
        one = WhiteNoise().draw(like.new_empty(self._draws, dim), generator, t, t_next)
        return one.repeat(len(like) // self._draws, 1)


class _Validation:
    """Minus the concordance of generated curves on the validation rows, as the publication stops by."""

    def __init__(
        self,
        model: PaperDiffusion,
        features: NDArray[np.float32],
        times: Floats,
        events: NDArray[np.bool_],
        generator: torch.Generator,
    ) -> None:
        self._model = model
        self._features = features
        self._horizon = float(times.max())
        self._start = torch.randn(1, 1, _VALIDATION_DRAWS, 2, generator=generator, dtype=torch.float32)
        self._seed = int(torch.randint(2**31 - 1, (), generator=generator))
        self._comparable = events[:, None] & (times[:, None] < times[None])

    def __call__(self, network: nn.Module) -> Tensor:
        device = next(network.parameters()).device
        stream = torch.Generator(device).manual_seed(self._seed)
        draws = self._model.draw(self._features, self._start, self._model.settings.nfe, device, stream)
        later = draws.curves().restricted_mean(self._horizon)
        right = (later[:, None] < later[None]) + 0.5 * (later[:, None] == later[None])
        pairs = self._comparable.sum()
        return torch.tensor(-float((right * self._comparable).sum() / pairs) if pairs else -0.5)
