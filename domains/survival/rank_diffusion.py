r"""The default recipe: the event flag first, then diffusion of the time's rank given the flag.

The law of a patient's observation, time :math:`T` and flag :math:`E`, is learned in two factors:

.. math:: p(T, E \mid x) = p(E \mid x)\; p(T \mid E, x) .

1. :math:`\operatorname{logit} p(E = 1 \mid x)` is the cohort's logit plus a network, trained by the binary
   cross-entropy.
2. Among the events, and among the censored rows by themselves, :math:`T` becomes a standard normal rank
   :math:`z` (`time_transform`), and :math:`p(z \mid E, x)` is a diffusion model on the trigonometric path
   :math:`x_t = \cos\theta\, z + \sin\theta\, \varepsilon`, predicting :math:`v` with the plain squared error.
   For data of unit variance this is the EDM preconditioning with its weight (Karras et al., arXiv 2206.00364)
   at uniform angles.  One network serves both flags: with :math:`s = \pm 1` for an event or censoring, its
   condition is :math:`(x, \tfrac12 s x, s)`, so that what the two kinds of time share is learned first and
   from all rows.

The networks are ensembles (`members`) whose output starts at zero.  A model that has learned nothing
therefore generates the times and flags of the training rows, whoever the patient is: its curve is the
Kaplan-Meier curve of the cohort.

Taking the flag first keeps what a heavily censored study knows in one well-posed place: where everybody is
followed to the same day, :math:`p(E \mid x)` is the risk until that day, whereas the rank of the observed
time is mostly noise among the censored.  For a curve, half of the draws are events and half are censored,
with the weights :math:`p(E \mid x)`: no coin is thrown for the flag, which removes that coin's noise from the
curve and keeps its resolution where events are rare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sciffusion.continuous import DenoisingObjective, DPMSolverMultistep, NetworkDenoiser, Trigonometric
from sciffusion.networks import ConditionalMLP
from sciffusion.sampling import State, sample, uniform_grid
from sciffusion.training import TrainingHistory, TrainingOptions
from sciffusion.training.time_samplers import stratified_uniforms

from .draws import Draws, Train
from .members import MemberSplit, split_members
from .settings import Settings
from .time_transform import RankTransform

__all__ = ["RankDiffusion"]

Floats = NDArray[np.float64]

_PATH = Trigonometric()
_EMA_DECAY = 0.97
_EVALUATE_EVERY = 20
_HELD_OUT_DRAWS = 4096  # noisy copies of held-out rows in one look at the held-out loss, at most
_MOST_REPEATS = 8
_FLAG_STREAM, _TIME_STREAM = range(2)
_KINDS = ("event", "censoring")
_SIGNS = {"event": 1.0, "censoring": -1.0}
_OWN_SHARE = 0.5  # weight of the covariates' effect that differs between the kinds


class RankDiffusion:
    """A fitted model of the default recipe.

    Attributes
    ----------
    transforms : dict of str to RankTransform
        Ranks of the times of "event" and, unless every row is one, "censoring".
    base_logit : float
        Logit of the cohort's share of events; infinite if every row is one.
    flag_network : ConditionalMLP or None
        Ensemble that corrects the logit; None if every row is an event.
    time_network : ConditionalMLP
        Ensemble that denoises ranks, told the kind.
    """

    noise_dim = 1
    fewest_draws = 2  # of a member, for a curve: one event and one censored

    transforms: dict[str, RankTransform]
    base_logit: float
    flag_network: ConditionalMLP | None
    time_network: ConditionalMLP

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # ---------------------------------------------------------------- learning

    def fit(
        self,
        features: NDArray[np.float32],
        times: Floats,
        events: NDArray[np.bool_],
        weights: Floats,
        generator: torch.Generator,
        train: Train,
    ) -> dict[str, TrainingHistory]:
        """Learn from encoded rows; return the training histories by network.

        Parameters
        ----------
        features : ndarray of float32, shape (rows, features)
            Encoded covariates.
        times, events, weights : ndarray of shape (rows,)
            Observed times, flags, and weights of mean 1; at least one event.
        generator : torch.Generator
            Draws starting weights and splits; on the CPU.
        train : callable
            Trains a network in place.
        """
        self.base_logit = np.inf if events.all() else _base_logit(events, weights)
        of_kind = {"event": events, "censoring": ~events}
        self.transforms = {
            kind: RankTransform.learn(times[rows], weights[rows])
            for kind, rows in of_kind.items()
            if rows.any()
        }
        self._build(features.shape[1], generator)
        if self.settings.max_steps == 0:
            return {}
        split = split_members(
            torch.from_numpy(events), self.settings.n_members, self.settings.validation_fraction, generator
        )
        options = self._training_options(len(features))
        rows = _Rows.of(features, events, times, weights, split)
        histories = {}
        if self.flag_network is not None:
            histories["flag"] = self._train_flag(rows, options, train)
        histories["time"] = self._train_times(rows, options, generator, train)
        return histories

    def _training_options(self, n_rows: int) -> TrainingOptions:
        settings = self.settings
        return TrainingOptions(
            max_steps=settings.steps(n_rows),
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            ema_decay=_EMA_DECAY,
            evaluate_every=_EVALUATE_EVERY,
            patience=settings.patience,
            gradient_clip=None,
            threads=1,
        )

    def _build(self, n_features: int, generator: torch.Generator) -> None:
        members = self.settings.n_members
        sizes = {name: getattr(self.settings, name) for name in ("width", "depth", "dropout")}
        self.flag_network = None
        if "censoring" in self.transforms:
            self.flag_network = ConditionalMLP(
                members, 0, n_features, 1, n_frequencies=0, generator=generator, **sizes
            )
        self.time_network = ConditionalMLP(members, 1, 2 * n_features + 1, 1, generator=generator, **sizes)

    def _train_flag(self, rows: _Rows, options: TrainingOptions, train: Train) -> TrainingHistory:
        assert self.flag_network is not None
        base = self.base_logit

        def loss(network: nn.Module, features: Tensor, flag: Tensor) -> Tensor:
            logits = _flag_logits(network, features, base)
            return nn.functional.binary_cross_entropy_with_logits(
                logits, flag.expand(logits.shape), reduction="none"
            )

        def objective(network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
            features, flag, weight = batch
            return _weighted_mean(loss(network, features, flag), weight.T)

        kept = _OnDevice(rows.features[rows.held_out], rows.flag[rows.held_out], rows.held_out_weight)

        def held_out(network: nn.Module) -> Tensor:
            features, flag, weight = kept.beside(network)
            return _weighted_mean(loss(network, features, flag), weight)

        return train(
            self.flag_network,
            objective,
            (rows.features, rows.flag, rows.weight),
            options=options,
            held_out=held_out,
            description="flag",
            stream=_FLAG_STREAM,
        )

    def _train_times(
        self, rows: _Rows, options: TrainingOptions, generator: torch.Generator, train: Train
    ) -> TrainingHistory:
        members = self.settings.n_members
        conditions = _with_kind(rows.features, 2.0 * rows.flag - 1.0)
        lower, upper = self._intervals(rows)

        def objective(network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
            features, low, high, weight = batch
            count, device = len(low), low.device
            place = torch.rand(count, generator=stream, device=device, dtype=torch.float32)
            z = _normal_rank(low, high, place)
            noise = torch.randn(count, generator=stream, device=device, dtype=torch.float32)
            t = stratified_uniforms((1, count), stream)
            loss = _denoising_loss(network, z.expand(members, -1), t, noise.expand(members, -1), features)
            return _weighted_mean(loss, weight.T)

        kept = _noisy_copies(rows, conditions, lower, upper, generator)

        def held_out(network: nn.Module) -> Tensor:
            assert isinstance(network, ConditionalMLP)
            features, z, t, noise, weight = kept.beside(network)
            condition = network.encode(features).repeat(z.shape[1] // features.shape[1])
            return _weighted_mean(_denoising_loss(network, z, t, noise, condition), weight)

        return train(
            self.time_network,
            objective,
            (conditions, lower, upper, rows.weight),
            options=options,
            held_out=held_out,
            description="time",
            stream=_TIME_STREAM,
        )

    def _intervals(self, rows: _Rows) -> tuple[Tensor, Tensor]:
        """Return both ends of each row's interval of ranks, among the rows of its kind."""
        ends = torch.zeros(2, len(rows.times), dtype=torch.float64)
        for kind, transform in self.transforms.items():
            chosen = rows.flag == (kind == "event")
            of_kind = transform.intervals(rows.times[chosen.numpy()])
            ends[:, chosen] = torch.from_numpy(np.stack(of_kind))
        return ends[0], ends[1]

    # ---------------------------------------------------------------- generating

    def draw(
        self,
        features: NDArray[np.float32],
        start: Tensor,
        nfe: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> Draws:
        """Generate weighted observations for curves, from given starting noise.

        Parameters
        ----------
        features : ndarray of float32, shape (rows, features)
            Encoded covariates.
        start : Tensor, shape (members, 1 or rows, draws of a member, 1)
            Standard normal; with 1 in the place of the rows all rows share it.
        nfe : int
            Evaluations of each time network.
        device : torch.device
            Where to compute.
        generator : torch.Generator
            Not used: the solver is deterministic.

        Returns
        -------
        Draws
            A member's draws side by side.  Unless every training row is an event, the first half of them
            (rounded up) are events and the others censored, weighted with their probabilities.
        """
        with torch.inference_mode():
            condition = torch.from_numpy(features).to(device)
            if self.flag_network is None:
                return _all_events(self._times("event", condition, start, nfe))
            cut = (start.shape[2] + 1) // 2
            parts = {"event": start[:, :, :cut], "censoring": start[:, :, cut:]}
            times = {kind: self._times(kind, condition, part, nfe) for kind, part in parts.items()}
            share = self._event_share(condition)[..., None]
        counts = [times[kind].shape[2] for kind in _KINDS]
        weights = np.concatenate(
            [np.repeat(s / n, n, axis=2) for s, n in zip((share, 1.0 - share), counts, strict=True)], axis=2
        )
        flags = np.repeat([1.0, 0.0], counts)
        return Draws(
            _rows_first(np.concatenate([times[kind] for kind in _KINDS], axis=2)),
            np.broadcast_to(np.tile(flags, len(start)), (len(features), len(start) * start.shape[2])),
            _rows_first(weights),
        )

    def observe(
        self,
        features: NDArray[np.float32],
        start: Tensor,
        nfe: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> Draws:
        """Generate single observations, all of the same weight; the parameters are those of `draw`.

        Flags are drawn from ``generator``.
        """
        with torch.inference_mode():
            condition = torch.from_numpy(features).to(device)
            times = self._times("event", condition, start, nfe)
            if self.flag_network is None:
                return _all_events(times)
            censored = self._times("censoring", condition, start, nfe)
            coins = torch.rand(times.shape, generator=generator, device=generator.device, dtype=torch.float32)
            flags = coins.cpu().numpy() < self._event_share(condition)[..., None]
        return Draws(_rows_first(np.where(flags, times, censored)), _rows_first(flags.astype(np.float64)))

    def _times(self, kind: str, condition: Tensor, start: Tensor, nfe: int) -> Floats:
        """Return generated times of one kind, shape (members, rows, draws of a member)."""
        rows, per_member = len(condition), start.shape[2]
        if per_member == 0:
            return np.empty((len(start), rows, 0))
        signs = condition.new_full((rows,), _SIGNS[kind])
        noise = start.to(condition.device).expand(-1, rows, -1, -1).reshape(len(start), rows * per_member, 1)
        z = sample(
            NetworkDenoiser(self.time_network, _PATH, "v"),
            DPMSolverMultistep(2),
            uniform_grid(nfe),
            state=State(noise),
            condition=self.time_network.encode(_with_kind(condition, signs)).repeat(per_member),
        ).samples
        return self.transforms[kind].inverse(z.cpu().numpy().reshape(len(start), rows, per_member))

    def _event_share(self, condition: Tensor) -> Floats:
        """Return the probability of an event, shape (members, rows)."""
        logits = _flag_logits(self.flag_network, condition, self.base_logit)
        share: Floats = torch.sigmoid(logits).cpu().numpy().astype(np.float64)
        return share

    # ---------------------------------------------------------------- persistence

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        found: dict[str, nn.Module] = {"time": self.time_network}
        return found if self.flag_network is None else {"flag": self.flag_network, **found}

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-able values from which `restore` rebuilds the model."""
        tensors = {
            f"{name}.{key}": value
            for name, network in self.networks().items()
            for key, value in network.state_dict().items()
        }
        transforms = {kind: transform.to_dict() for kind, transform in self.transforms.items()}
        return tensors, {"transforms": transforms, "base_logit": self.base_logit}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take up what `to_state` returned."""
        self.transforms = {k: RankTransform.from_dict(v) for k, v in values["transforms"].items()}
        self.base_logit = float(values["base_logit"])
        n_features = (tensors["time.from_condition.weight"].shape[1] - 1) // 2
        self._build(n_features, torch.Generator().manual_seed(0))
        for name, network in self.networks().items():
            prefix = f"{name}."
            network.load_state_dict(
                {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            )
            network.eval()


class _Rows(NamedTuple):
    """Training rows as tensors, with the members' weights and held-out rows."""

    features: Tensor
    flag: Tensor
    times: Floats
    weight: Tensor  # (rows, members): 0 where a member keeps the row back
    held_out: Tensor  # (members, held-out rows)
    held_out_weight: Tensor

    @classmethod
    def of(
        cls,
        features: NDArray[np.float32],
        events: NDArray[np.bool_],
        times: Floats,
        weights: Floats,
        split: MemberSplit,
    ) -> _Rows:
        weight = torch.from_numpy(weights).float()
        return cls(
            torch.from_numpy(features),
            torch.from_numpy(events).float(),
            times,
            weight[:, None] * split.training,
            split.held_out,
            weight[split.held_out],
        )


class _OnDevice:
    """Tensors that follow a network to its device, moved once."""

    def __init__(self, *tensors: Tensor) -> None:
        self._tensors = tensors

    def beside(self, network: nn.Module) -> tuple[Tensor, ...]:
        device = next(network.parameters()).device
        if self._tensors[0].device != device:
            self._tensors = tuple(tensor.to(device) for tensor in self._tensors)
        return self._tensors


def _noisy_copies(
    rows: _Rows, conditions: Tensor, lower: Tensor, upper: Tensor, generator: torch.Generator
) -> _OnDevice:
    """Draw the noise at which members are judged on their held-out rows, again and again the same."""
    members, count = rows.held_out.shape
    repeats = min(max(_HELD_OUT_DRAWS // count, 1), _MOST_REPEATS)
    shape = (members, count, repeats)
    low, high = lower[rows.held_out][..., None], upper[rows.held_out][..., None]
    z = _normal_rank(low, high, torch.rand(shape, generator=generator, dtype=torch.float32))
    t = stratified_uniforms((members, count * repeats), generator)
    noise = torch.randn(shape, generator=generator, dtype=torch.float32)
    weight = rows.held_out_weight[..., None].expand(shape)
    flat = (members, count * repeats)
    return _OnDevice(conditions[rows.held_out], z.reshape(flat), t, noise.reshape(flat), weight.reshape(flat))


def _base_logit(events: NDArray[np.bool_], weights: Floats) -> float:
    # Weights may leave one kind next to nothing, which the networks must still be able to correct.
    share = np.clip(np.average(events, weights=weights), 1e-6, 1.0 - 1e-6)
    return float(np.log(share) - np.log1p(-share))


def _with_kind(features: Tensor, signs: Tensor) -> Tensor:
    """Return the condition of the time network: 1 marks the time of an event, -1 that of censoring."""
    sign = signs[:, None]
    return torch.cat([features, _OWN_SHARE * sign * features, sign], dim=1)


def _normal_rank(lower: Tensor, upper: Tensor, place: Tensor) -> Tensor:
    """Return the normal quantile of a place within an interval of ranks, in float32."""
    ranks = lower + (upper - lower) * place
    normal: Tensor = torch.special.ndtri(ranks.clamp(1e-6, 1.0 - 1e-6)).float()
    return normal


def _denoising_loss(network: nn.Module, z: Tensor, t: Tensor, noise: Tensor, condition: Any) -> Tensor:
    denoiser = NetworkDenoiser(network, _PATH, "v")
    loss = DenoisingObjective(_PATH)(denoiser, z[..., None], t, noise[..., None], condition)
    return loss[..., 0]


def _flag_logits(network: nn.Module | None, features: Tensor, base: float) -> Tensor:
    """Return the logits of an event, shape (members, rows)."""
    assert network is not None
    correction: Tensor = network(None, None, features)
    return correction[..., 0] + base


def _weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    """Average over rows, both of shape (members, rows)."""
    return (loss * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-12)


def _all_events(times: Floats) -> Draws:
    by_row = _rows_first(times)
    return Draws(by_row, np.ones(by_row.shape))


def _rows_first(values: NDArray[Any]) -> NDArray[Any]:
    """Turn (members, rows, draws) into (rows, members * draws)."""
    return np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(values.shape[1], -1)
