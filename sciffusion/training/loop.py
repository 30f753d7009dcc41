"""Fitting a network: one function around Lightning's trainer.

Lightning does the training, so its accelerators, strategies, precisions, callbacks and loggers are there
through `trainer_options`; by default it runs on one device, keeps quiet and writes nothing. It is imported at
the first fit, not with the library.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .batches import derived_seed
from .global_state import deferred_interrupt, preserved_torch_state, quiet_lightning
from .options import TrainingHistory, TrainingOptions
from .plan import FitPlan, HeldOutLoss, Objective
from .posthoc import PostHocAverage

if TYPE_CHECKING:
    from .module import FitModule  # at run time it would import Lightning

__all__ = ["fit_network"]

_GLOBAL = 2  # number of the random stream behind torch's global generator during a fit
_RESERVED = {
    "max_steps": "set max_steps of the training options",
    "max_epochs": "set max_steps of the training options",
    "min_steps": "set patience of the training options",
    "min_epochs": "set patience of the training options",
    "gradient_clip_val": "set gradient_clip of the training options",
    "accumulate_grad_batches": "set batch_size of the training options",
}


def fit_network(
    network: nn.Module,
    objective: Objective,
    data: tuple[Tensor, ...],
    *,
    options: TrainingOptions,
    seed: int,
    held_out: HeldOutLoss | None = None,
    device: torch.device | str = "cpu",
    trainer_options: Mapping[str, Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    description: str = "",
    verbose: bool = False,
    posthoc: PostHocAverage | None = None,
) -> TrainingHistory:
    """Train `network` in place and leave it with the best weights, in evaluation mode.

    Parameters
    ----------
    network : nn.Module
        A network, or a vectorised ensemble whose parameters all have a leading member axis. It comes back on
        the device that it was on.
    objective : callable
        ``objective(network, batch, generator)`` gives the mean loss of a batch, a scalar, or a vector of one
        loss a member, whose sum is optimised. All randomness must come from `generator`, which lives on the
        training device (layers such as dropout are seeded as well). One that changes with the step is given
        as a `ScheduledObjective`.
    data : tuple of Tensor
        Tensors with equal first dimension (rows), moved to the device as a whole; a batch is the same tuple
        with the rows of one step.
    options : TrainingOptions
        Steps, batch size, learning rate, averaging, evaluation and stopping.
    seed : int >= 0
        Seed of the order of rows and of `generator`.
    held_out : callable, optional
        ``held_out(network)`` gives a loss of the (averaged) weights on rows kept back, shaped like that of
        the objective, without gradients; lower is better. It must return the same value for the same
        weights and find the device from the network. It is also asked at step 0. Without it all steps are
        run and the last weights kept.
    device : torch.device or str
        Where to train; `trainer_options` may override it by "accelerator" and "devices".
    trainer_options : mapping, optional
        Keyword arguments of ``pytorch_lightning.Trainer``.
    checkpoint : path, optional
        File in which the fit is saved at every evaluation and from which the same fit is taken up again, with
        the same result as one that was never stopped. Ctrl-C and SIGTERM save before they stop the fit.
    description : str
        Whatever else defines the fit (such as the settings of the objective); a checkpoint with another
        description is refused.
    verbose : bool
        Show a progress bar.
    posthoc : PostHocAverage, optional
        Follows the weights, so that averages of any width can be had from it afterwards; part of the
        checkpoint. Strategies that train in processes of their own leave its snapshots there.

    Returns
    -------
    TrainingHistory
        Losses, and the step whose weights each member kept.

    Raises
    ------
    ValueError
        If `network`, `data` or `trainer_options` cannot be used, or losses and parameters do not fit each
        other.
    CheckpointError
        If the checkpoint is damaged or belongs to another fit.
    TrainingDivergedError
        If the loss stops being finite.
    KeyboardInterrupt
        If the user stops the fit; the network is then half trained.
    """
    device = _numbered(torch.device(device))
    _check_data(data)
    settings = _trainer_settings(device, trainer_options)
    plan = FitPlan(objective, data, options, seed, held_out, checkpoint, description, verbose, posthoc)
    _check_network(network)
    home = next(network.parameters()).device
    identity = "" if checkpoint is None else plan.identity(network, device)
    with preserved_torch_state(device, derived_seed(seed, _GLOBAL)):
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        _import_lightning()
        try:
            return _run(network, plan, identity, settings)
        finally:
            network.to(home)


def _run(network: nn.Module, plan: FitPlan, identity: str, settings: dict[str, Any]) -> TrainingHistory:
    from .module import FitModule

    with quiet_lightning(), deferred_interrupt(plan.checkpoint is not None) as interrupt:
        module = FitModule(network, plan, identity, interrupt)
        try:
            _run_trainer(module, settings)
        finally:
            module.close_bar()
    if interrupt.raised:
        raise KeyboardInterrupt
    assert module.history is not None
    return module.history


def _import_lightning() -> None:
    # Before `quiet_lightning`, because the import itself sets the log levels; and with all warnings off,
    # because those of other packages during this import are nothing that a user of an estimator can act on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pytorch_lightning  # noqa: F401
        except (ImportError, RuntimeError, OSError) as error:
            raise ImportError(
                f"training needs pytorch-lightning, whose import failed: {error}. If the message names "
                "torchvision or torchaudio, that package was built for another torch: install a matching one "
                "or uninstall it"
            ) from error


def _run_trainer(module: FitModule, settings: dict[str, Any]) -> None:
    import pytorch_lightning

    trainer = pytorch_lightning.Trainer(**settings)
    try:
        trainer.fit(module, train_dataloaders=_Calls())
    except SystemExit as stop:
        # Lightning turns Ctrl-C into SystemExit, which would end a notebook's or a server's process.
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


class _Calls:
    """What Lightning iterates over: numbers of calls, for the module fetches its batches itself."""

    def __iter__(self) -> Iterator[int]:
        return itertools.count()


def _trainer_settings(device: torch.device, trainer_options: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(trainer_options or {})
    for name in given.keys() & _RESERVED.keys():
        raise ValueError(f"trainer_options cannot hold {name!r}; {_RESERVED[name]} instead")
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    numbered = device.type == "cuda" and "accelerator" not in given
    devices = [device.index or 0] if numbered else 1
    return {
        "accelerator": accelerator,
        "devices": devices,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **given,
    }


def _numbered(device: torch.device) -> torch.device:
    # Lightning wants a number, and plain "cuda" means torch's current device, which need not be the first.
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _check_network(network: nn.Module) -> None:
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError("network has no parameter that requires a gradient, so there is nothing to train")


def _check_data(data: tuple[Tensor, ...]) -> None:
    if not data or any(tensor.ndim == 0 for tensor in data):
        raise ValueError("data must be a non-empty tuple of tensors that have rows")
    lengths = [len(tensor) for tensor in data]
    if lengths[0] == 0 or len(set(lengths)) > 1:
        raise ValueError(f"the tensors of data must have the same positive number of rows, got {lengths}")
