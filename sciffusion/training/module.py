r"""The Lightning module that trains a network, or a vectorised ensemble of networks.

An ensemble of :math:`M` members is one network whose parameters all have a leading axis of length :math:`M`
and whose objective gives :math:`M` losses, the :math:`m`-th depending on slice :math:`m` of the parameters
alone. The gradient of :math:`\sum_m L_m` then consists of the members' own gradients, AdamW acts elementwise,
clipping and the choice of the best weights go member by member: each trains as if it were alone.

Optimisation is manual in Lightning's sense, and one call of `training_step` makes all updates up to the next
evaluation: Lightning's bookkeeping is then paid once a stretch, not once a step. With several processes a
call makes one update, because the exchange of gradients is prepared once a call.

Importing this module imports Lightning; `sciffusion.training.loop` does so at the first fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from .batches import RowStream, derived_seed
from .best_weights import BestWeights
from .checkpoints import read_checkpoint, write_checkpoint
from .ema import WeightAverage, profile_of
from .global_state import InterruptFlag
from .gradients import clip_gradients
from .options import TrainingHistory
from .plan import FitPlan, Objective
from .record import FitRecord

__all__ = ["FitModule", "TrainingDivergedError"]

_ROWS, _NOISE = 0, 1  # numbers of the random streams that hang on the seed of a fit


class TrainingDivergedError(RuntimeError):
    """The loss became infinite or not a number."""


class FitModule(pytorch_lightning.LightningModule):
    """Trains `network` by `plan`; see the module's text.

    Parameters
    ----------
    network : nn.Module
        The network; trained in place.
    plan : FitPlan
        Objective, data and options.
    identity : str
        Fingerprint of the fit, for checkpoints.
    interrupt : InterruptFlag
        Set by the fit loop when the user asks to stop.
    """

    def __init__(self, network: nn.Module, plan: FitPlan, identity: str, interrupt: InterruptFlag) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.interrupted = False
        self.history: TrainingHistory | None = None
        self._plan = plan
        self._identity = identity
        self._interrupt = interrupt
        self._step = 0
        self._n_members: int | None = None
        self._members_known = False
        self._best: BestWeights | None = None
        self._record = FitRecord()
        self._evaluated = -1
        self._bar: tqdm[Any] | None = None
        self._parameter_cache: dict[str, Tensor] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make AdamW; its fused kernel wherever it can be combined with the trainer's precision."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        # A gradient scaler and the fused kernel cannot both unscale, and clipping needs unscaled gradients.
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        fused = parameters[0].device.type in ("cpu", "cuda") and not scaled
        options = self._plan.options
        return torch.optim.AdamW(
            parameters, lr=options.learning_rate, weight_decay=options.weight_decay, fused=fused
        )

    def on_train_start(self) -> None:
        """Move the data to the device and take up a checkpoint where there is one."""
        plan = self._plan
        self._data = tuple(tensor.to(self.device) for tensor in plan.data)
        self._rows = RowStream(len(self._data[0]), plan.options.batch_size, derived_seed(plan.seed, _ROWS))
        self._generator = torch.Generator(self.device)
        self._generator.manual_seed(derived_seed(plan.seed, _NOISE, self.global_rank))
        profile = profile_of(plan.options)
        self._average = None if profile is None else WeightAverage(self._parameters_by_name(), profile)
        if plan.posthoc is not None:
            plan.posthoc.begin(self._parameters_by_name())
        self.network.train()
        if plan.checkpoint is not None:
            state = read_checkpoint(plan.checkpoint, self._identity)
            if state is not None:
                self._load(state)
        self._bar = tqdm(
            total=plan.options.max_steps,
            initial=self._step,
            disable=not plan.verbose,
            desc="training",
            unit="step",
        )

    def training_step(self, batch: object, batch_idx: int) -> None:
        """Make the updates up to the next evaluation, and the evaluation."""
        if self._evaluation_due:
            self._evaluate()
        while not self._finished:
            self._update()
            if self._interrupt.raised:
                self._save()
                self.interrupted = True
                break
            if self._evaluation_due:
                self._evaluate()
                break
            if self.trainer.world_size > 1:
                break
        self.trainer.should_stop = self._finished or self.interrupted

    def on_train_end(self) -> None:
        """Put the chosen weights into the network."""
        if self.interrupted:
            return
        if self._plan.posthoc is not None:
            self._plan.posthoc.snapshot()
        chosen = self._best.weights if self._best is not None else self._averaged_weights()
        self._write_into_network(chosen)
        self.network.zero_grad(set_to_none=True)
        self.network.eval()
        self.history = self._record.history(self._step, self._best)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip the gradients, which a mixed-precision trainer has unscaled by now."""
        if self._plan.options.gradient_clip is not None:
            clip_gradients(self.network.parameters(), self._plan.options.gradient_clip, self._n_members)

    def close_bar(self) -> None:
        """End the progress bar, also after an error."""
        if self._bar is not None:
            self._bar.close()

    def get_extra_state(self) -> dict[str, Any] | None:
        """Return the history, so that trainers which fit in other processes bring it back."""
        return None if self.history is None else self.history.to_dict()

    def set_extra_state(self, state: dict[str, Any] | None) -> None:
        """Take over what `get_extra_state` returned."""
        self.history = None if state is None else TrainingHistory.from_dict(state)

    @property
    def _evaluation_due(self) -> bool:
        if self._step == 0 and (self._plan.held_out is None or self._plan.options.evaluate_from):
            return False
        at_mark = self._step % self._plan.options.evaluate_every == 0
        return self._evaluated != self._step and (at_mark or self._step == self._plan.options.max_steps)

    @property
    def _finished(self) -> bool:
        if self._best is not None and bool(self._best.finished.all()):
            return True
        return self._step >= self._plan.options.max_steps

    def _update(self) -> None:
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        rows = self._rows.rows(self._step)[self.global_rank :: self.trainer.world_size].to(self.device)
        batch = tuple(tensor[rows] for tensor in self._data)
        losses = self._objective()(self.network, batch, self._generator)
        self._check_members("objective", losses)
        rate = self._plan.options.learning_rate_at(self._step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(losses.sum())
        optimizer.step()
        self._step += 1
        if self._average is not None:
            self._average.update(self._parameters_by_name())
        if self._plan.posthoc is not None:
            self._plan.posthoc.update(self._parameters_by_name())
        self._record.add(losses.reshape(-1))
        if self._bar is not None:
            self._bar.update()

    def _objective(self) -> Objective:
        """Return the objective of the next update."""
        at_step = getattr(self._plan.objective, "at_step", None)
        chosen: Objective = self._plan.objective if at_step is None else at_step(self._step)
        return chosen

    def _evaluate(self) -> None:
        held_out = self._held_out_losses()
        n_members = self._n_members or 1
        mean = self._record.close(self._step, held_out, n_members)
        if self._step > 0 and not bool(torch.isfinite(mean).all()):
            raise TrainingDivergedError(
                f"the training loss is {mean.tolist()} after {self._step} steps; lower the "
                f"learning rate (now {self._plan.options.learning_rate:g}), set gradient_clip, or look for "
                "extreme values in the data"
            )
        metrics = {"train_loss": mean.mean()}
        if held_out is not None:
            metrics["held_out_loss"] = held_out.mean()
            if self._best is None:
                self._best = BestWeights(self._n_members, self._plan.options.patience)
            self._best.update(self._step, held_out, self._averaged_weights())
        self.log_dict({name: value.to(torch.float32) for name, value in metrics.items()}, batch_size=1)
        if self._bar is not None:
            self._bar.set_postfix({name: f"{float(value):.4g}" for name, value in metrics.items()})
        self._evaluated = self._step
        self._save()

    def _held_out_losses(self) -> Tensor | None:
        if self._plan.held_out is None or self._step < self._plan.options.evaluate_from:
            return None
        self.network.eval()
        with torch.no_grad(), self._averaged():
            losses = self._plan.held_out(self.network)
        self.network.train()
        self._check_members("held_out", losses)
        return losses.detach().cpu().to(torch.float64).reshape(-1)  # in two steps, for Apple GPUs

    def _check_members(self, name: str, losses: Tensor) -> None:
        found = None if losses.ndim == 0 else len(losses)
        if self._members_known and losses.ndim < 2 and found == self._n_members:
            return
        if losses.ndim > 1:
            raise ValueError(
                f"{name} must give a scalar or one loss a member, got shape {tuple(losses.shape)}"
            )
        if self._members_known:
            raise ValueError(
                f"objective and held_out must agree: {name} gives shape {tuple(losses.shape)}, "
                f"the other {() if self._n_members is None else (self._n_members,)}"
            )
        if found is not None:
            for key, parameter in self._parameters_by_name().items():
                if parameter.ndim == 0 or len(parameter) != found:
                    raise ValueError(
                        f"{name} gives {found} losses, so every parameter needs a leading axis of length "
                        f"{found}; {key!r} has shape {tuple(parameter.shape)}"
                    )
        self._n_members, self._members_known = found, True

    def _parameters_by_name(self) -> dict[str, Tensor]:
        # Walking the tree of modules at each step would cost as much as a small network.
        if not self._parameter_cache:
            named = self.network.named_parameters()
            self._parameter_cache = {name: p for name, p in named if p.requires_grad}
        return dict(self._parameter_cache)

    def _averaged_weights(self) -> dict[str, Tensor]:
        weights = self._parameters_by_name() if self._average is None else dict(self._average.average)
        if self._n_members is None:
            # Running statistics belong to the weights; in an ensemble buffers need not have a member axis.
            weights.update(self.network.named_buffers())
        return weights

    @torch.no_grad()
    def _write_into_network(self, weights: dict[str, Tensor]) -> None:
        own = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        for name, value in weights.items():
            own[name].copy_(value)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        if self._average is None:
            yield
            return
        raw = {name: value.detach().clone() for name, value in self._parameters_by_name().items()}
        self._write_into_network(self._average.average)
        try:
            yield
        finally:
            self._write_into_network(raw)

    def _save(self) -> None:
        if self._plan.checkpoint is None or not self.trainer.is_global_zero:
            return
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        state = {
            "step": self._step,
            "evaluated": self._evaluated,
            "n_members": self._n_members,
            "members_known": self._members_known,
            "network": dict(self.network.state_dict()),
            "optimizer": optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "global_generators": _global_generators(self.device),
            "record": self._record.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "best": None if self._best is None else self._best.state_dict(),
            "posthoc": None if self._plan.posthoc is None else self._plan.posthoc.state_dict(),
        }
        write_checkpoint(self._plan.checkpoint, state, self._identity)

    def _load(self, state: dict[str, Any]) -> None:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        self._step, self._evaluated = state["step"], state["evaluated"]
        self._n_members, self._members_known = state["n_members"], state["members_known"]
        self.network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        _set_global_generators(self.device, state["global_generators"])
        self._record.load_state_dict(state["record"], self.device)
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._plan.posthoc is not None:
            self._plan.posthoc.load_state_dict(state["posthoc"])
        if state["best"] is not None:
            self._best = BestWeights(self._n_members, self._plan.options.patience)
            self._best.load_state_dict(state["best"], self.device)


def _global_generators(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    elif device.type == "mps":
        states.append(torch.mps.get_rng_state())
    return states


def _set_global_generators(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
    elif device.type == "mps":
        torch.mps.set_rng_state(states[1])
