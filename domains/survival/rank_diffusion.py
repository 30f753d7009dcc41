r"""The default recipe: diffusion of the observed time's rank, and a head for the event flag.

The law of a patient's observation, time :math:`T` and flag :math:`E`, is learned in two factors:

.. math:: p(T, E \mid x) = p(T \mid x)\; p(E \mid T, x) .

1. :math:`T` becomes a standard normal rank :math:`z` (`time_transform`), and :math:`p(z \mid x)` is a
   diffusion model on the trigonometric path :math:`x_t = \cos\theta\, z + \sin\theta\, \varepsilon`,
   predicting :math:`v` with the plain squared error.  For data of unit variance this is the EDM
   preconditioning with its weight (Karras et al., arXiv 2206.00364) at uniform angles.
2. :math:`\operatorname{logit} p(E \mid T, x) = a(T) + g(z, x)`, with the covariate-free rate :math:`a`
   (`event_rate`) and a network :math:`g`, by the binary cross-entropy.

Both networks are ensembles (`members`) whose output starts at zero.  A model whose networks have learned
nothing therefore generates the times of the training rows with their smoothed event rate: its Kaplan-Meier
curve is that of the cohort, whoever the patient is.

Draws carry the *probability* of an event instead of a coin thrown with it, which removes that coin's noise
from every Kaplan-Meier curve (Rao-Blackwell).
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
from .event_rate import marginal_event_logits
from .members import MemberSplit, split_members
from .settings import Settings
from .time_transform import RankTransform

__all__ = ["RankDiffusion"]

Floats = NDArray[np.float64]

_PATH = Trigonometric()
_KNOTS = (-2.0, -1.2, -0.4, 0.4, 1.2, 2.0)
_KNOT_WIDTH = 0.8
_EMA_DECAY = 0.97
_EVALUATE_EVERY = 20
_HELD_OUT_DRAWS = 4096  # noisy copies of held-out rows in one look at the held-out loss, at most
_MOST_REPEATS = 8


class RankDiffusion:
    """A fitted model of the default recipe.

    Attributes
    ----------
    transform : RankTransform
        Ranks of the training times.
    event_logits : Tensor of shape (times,), or None
        Covariate-free event rate at each training time; None where every row is an event.
    time_network, event_network : ConditionalMLP
        The two ensembles; the second is None where every row is an event.
    """

    noise_dim = 1

    transform: RankTransform
    event_logits: Tensor | None
    time_network: ConditionalMLP
    event_network: ConditionalMLP | None

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
            Observed times, flags, and weights of mean 1.
        generator : torch.Generator
            Draws starting weights and splits; on the CPU.
        train : callable
            Trains a network in place.
        """
        self.transform = RankTransform.learn(times, weights)
        atoms = self.transform.atoms_of_times(times)
        self._learn_event_rate(atoms, events, weights)
        self._build(features.shape[1], generator)
        if self.settings.max_steps == 0:
            return {}
        split = split_members(
            torch.from_numpy(events), self.settings.n_members, self.settings.validation_fraction, generator
        )
        rows = _Rows.of(self.transform, self.event_logits, features, atoms, events, weights, split)
        options = self._training_options(len(features))
        histories = {"time": self._train_times(rows, split, options, generator, train)}
        if self.event_network is not None:
            histories["event"] = self._train_events(rows, split, options, generator, train)
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
        )

    def _learn_event_rate(self, atoms: NDArray[Any], events: NDArray[np.bool_], weights: Floats) -> None:
        self.event_logits = None
        if not events.all():
            count = len(self.transform.support)
            mass = np.bincount(atoms, weights=weights, minlength=count)
            of_events = np.bincount(atoms, weights=weights * events, minlength=count)
            logits = marginal_event_logits(self.transform.upper, mass, of_events)
            self.event_logits = torch.from_numpy(logits).float()

    def _build(self, n_features: int, generator: torch.Generator) -> None:
        sizes = {k: getattr(self.settings, k) for k in ("width", "depth", "dropout")}
        members = self.settings.n_members
        self.time_network = ConditionalMLP(members, 1, n_features, 1, generator=generator, **sizes)
        self.event_network = None
        if self.event_logits is not None:
            self.event_network = ConditionalMLP(
                members, len(_KNOTS) + 2, n_features, 1, generator=generator, n_frequencies=0, **sizes
            )

    def _train_times(
        self,
        rows: _Rows,
        split: MemberSplit,
        options: TrainingOptions,
        generator: torch.Generator,
        train: Train,
    ) -> TrainingHistory:
        members = self.settings.n_members

        def objective(network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
            features, lower, upper, _, _, weight = batch
            place = torch.rand(len(lower), generator=stream, device=lower.device)
            z = _normal_rank(lower, upper, place).expand(members, -1)
            noise = torch.randn(len(lower), generator=stream, device=lower.device).expand(members, -1)
            t = stratified_uniforms((1, len(lower)), stream)
            return _member_means(_denoising_loss(network, z, t, noise, features), weight)

        held_out = _HeldOut.draw(rows, split, generator)
        return train(
            self.time_network, objective, rows, options=options,
            held_out=held_out.denoising_loss, description="time", stream=0,
        )  # fmt: skip

    def _train_events(
        self,
        rows: _Rows,
        split: MemberSplit,
        options: TrainingOptions,
        generator: torch.Generator,
        train: Train,
    ) -> TrainingHistory:
        assert self.event_network is not None
        members = self.settings.n_members

        def objective(network: nn.Module, batch: tuple[Tensor, ...], stream: torch.Generator) -> Tensor:
            features, lower, upper, flag, offset, weight = batch
            place = torch.rand(len(lower), generator=stream, device=lower.device)
            z = _normal_rank(lower, upper, place).expand(members, -1)
            logits = _event_logits(network, z, offset.expand(members, -1), features)
            return _member_means(_cross_entropy(logits, flag.expand(members, -1)), weight)

        held_out = _HeldOut.draw(rows, split, generator)
        return train(
            self.event_network, objective, rows, options=options,
            held_out=held_out.cross_entropy, description="event", stream=1,
        )  # fmt: skip

    # ---------------------------------------------------------------- generating

    def draw(
        self,
        features: NDArray[np.float32],
        start: Tensor,
        nfe: int,
        device: torch.device,
        generator: torch.Generator,
    ) -> Draws:
        """Generate observations from given starting noise.

        Parameters
        ----------
        features : ndarray of float32, shape (rows, features)
            Encoded covariates.
        start : Tensor, shape (members, 1 or rows, draws of a member, 1)
            Standard normal; with 1 in the place of the rows all rows share it.
        nfe : int
            Evaluations of the time network.
        device : torch.device
            Where to compute.
        generator : torch.Generator
            Not used: the solver is deterministic.

        Returns
        -------
        Draws
            With ``members * draws of a member`` columns, those of a member side by side.
        """
        rows, per_member = len(features), start.shape[2]
        with torch.inference_mode():
            condition = torch.from_numpy(features).to(device)
            noise = start.to(device).expand(-1, rows, -1, -1).reshape(len(start), rows * per_member, 1)
            encoded = self.time_network.encode(condition).repeat(per_member)
            denoiser = NetworkDenoiser(self.time_network, _PATH, "v")
            z = sample(
                denoiser, DPMSolverMultistep(2), uniform_grid(nfe), state=State(noise), condition=encoded
            ).samples[..., 0]
            atoms = self.transform.atoms_of_values(z.cpu().numpy())
            probability = self._event_probability(z, atoms, condition, per_member)
        by_row = (len(start), rows, per_member)
        return Draws(
            self.transform.support[_rows_first(atoms.reshape(by_row))],
            _rows_first(probability.reshape(by_row)).astype(np.float64),
        )

    def _event_probability(
        self, z: Tensor, atoms: NDArray[np.int64], condition: Tensor, per_member: int
    ) -> NDArray[Any]:
        if self.event_network is None or self.event_logits is None:
            return np.ones(atoms.shape)
        offset = self.event_logits[torch.from_numpy(atoms)].to(z.device)
        encoded = self.event_network.encode(condition).repeat(per_member)
        logits = _event_logits(self.event_network, z, offset, encoded)
        return np.asarray(torch.sigmoid(logits).cpu().numpy())

    # ---------------------------------------------------------------- persistence

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks by name."""
        found = {"time": self.time_network, "event": self.event_network}
        return {name: network for name, network in found.items() if network is not None}

    def to_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON-able values from which `restore` rebuilds the model."""
        tensors = {
            f"{name}.{key}": value
            for name, network in self.networks().items()
            for key, value in network.state_dict().items()
        }
        if self.event_logits is not None:
            tensors["event_logits"] = self.event_logits
        return tensors, {"transform": self.transform.to_dict()}

    def restore(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Take up what `to_state` returned."""
        self.transform = RankTransform.from_dict(values["transform"])
        self.event_logits = tensors.get("event_logits")
        n_features = tensors["time.from_condition.weight"].shape[1]
        self._build(n_features, torch.Generator().manual_seed(0))
        for name, network in self.networks().items():
            prefix = f"{name}."
            network.load_state_dict(
                {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            )
            network.eval()


class _Rows(NamedTuple):
    """Training rows as tensors; the last has one column a member."""

    features: Tensor
    lower: Tensor
    upper: Tensor
    flag: Tensor
    offset: Tensor
    weight: Tensor

    @classmethod
    def of(
        cls,
        transform: RankTransform,
        event_logits: Tensor | None,
        features: NDArray[np.float32],
        atoms: NDArray[Any],
        events: NDArray[np.bool_],
        weights: Floats,
        split: MemberSplit,
    ) -> _Rows:
        places = torch.from_numpy(atoms)
        offset = torch.zeros(len(atoms)) if event_logits is None else event_logits[places]
        return cls(
            torch.from_numpy(features),
            torch.from_numpy(transform.lower)[places],
            torch.from_numpy(transform.upper)[places],
            torch.from_numpy(events).float(),
            offset,
            torch.from_numpy(weights).float()[:, None] * split.training,
        )


class _HeldOut:
    """Fixed noisy copies of every member's held-out rows, on which it is judged again and again."""

    def __init__(self, features: Tensor, columns: tuple[Tensor, ...], repeats: int) -> None:
        self._features, self._columns, self._repeats = features, columns, repeats

    @classmethod
    def draw(cls, rows: _Rows, split: MemberSplit, generator: torch.Generator) -> _HeldOut:
        members, count = split.held_out.shape
        repeats = min(max(_HELD_OUT_DRAWS // count, 1), _MOST_REPEATS)
        shape = (members, count, repeats)
        lower, upper, flag, offset = (column[split.held_out][..., None] for column in rows[1:5])
        z = _normal_rank(lower, upper, torch.rand(shape, generator=generator))
        t = stratified_uniforms((members, count * repeats), generator)
        noise = torch.randn(shape, generator=generator)
        total = rows.weight.amax(dim=1)[split.held_out][..., None].expand(shape)
        columns = (z, t, noise, flag.expand(shape), offset.expand(shape), total)
        flat = tuple(column.reshape(members, count * repeats) for column in columns)
        return cls(rows.features[split.held_out], flat, repeats)

    def _on(self, network: nn.Module) -> tuple[Any, ...]:
        device = next(network.parameters()).device
        if self._features.device != device:
            self._features = self._features.to(device)
            self._columns = tuple(column.to(device) for column in self._columns)
        assert isinstance(network, ConditionalMLP)
        return network.encode(self._features).repeat(self._repeats), *self._columns

    def denoising_loss(self, network: nn.Module) -> Tensor:
        condition, z, t, noise, _, _, weight = self._on(network)
        return _weighted_mean(_denoising_loss(network, z, t, noise, condition), weight)

    def cross_entropy(self, network: nn.Module) -> Tensor:
        condition, z, _, _, flag, offset, weight = self._on(network)
        return _weighted_mean(_cross_entropy(_event_logits(network, z, offset, condition), flag), weight)


def _normal_rank(lower: Tensor, upper: Tensor, place: Tensor) -> Tensor:
    """Return the normal quantile of a place within an interval of ranks, in float32."""
    ranks = lower + (upper - lower) * place
    return torch.special.ndtri(ranks.clamp(1e-6, 1.0 - 1e-6)).float()


def _denoising_loss(network: nn.Module, z: Tensor, t: Tensor, noise: Tensor, condition: Any) -> Tensor:
    denoiser = NetworkDenoiser(network, _PATH, "v")
    loss = DenoisingObjective(_PATH)(denoiser, z[..., None], t, noise[..., None], condition)
    return loss[..., 0]


def _event_logits(network: nn.Module, z: Tensor, offset: Tensor, condition: Any) -> Tensor:
    knots = z.new_tensor(_KNOTS)
    bumps = torch.exp(-0.5 * ((z[..., None] - knots) / _KNOT_WIDTH) ** 2)
    inputs = torch.cat([bumps, z[..., None], offset[..., None]], dim=-1)
    correction: Tensor = network(inputs, None, condition)
    return correction[..., 0] + offset


def _cross_entropy(logits: Tensor, flag: Tensor) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(logits, flag, reduction="none")


def _member_means(loss: Tensor, weight: Tensor) -> Tensor:
    """Average over rows, ``loss`` (members, rows) and ``weight`` (rows, members)."""
    return _weighted_mean(loss, weight.T)


def _weighted_mean(loss: Tensor, weight: Tensor) -> Tensor:
    return (loss * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-12)


def _rows_first(values: NDArray[Any]) -> NDArray[Any]:
    """Turn (members, rows, draws) into (rows, members * draws)."""
    return np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(values.shape[1], -1)
