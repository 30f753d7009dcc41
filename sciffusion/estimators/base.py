"""The estimator from which all others of this library derive.

What it gives a subclass: devices, private random streams, training, saving and loading, pickles that move
between machines. What a subclass must do:

* take keyword-only constructor parameters and store them as given, among them
  ``random_state=None, device="auto", verbose=False, trainer_options=None, checkpoint=None``;
* decorate `fit` with `all_or_nothing`, begin it with ``self.seed_ = self._new_seed()``, build networks
  inside ``with self._private_streams(stream):``, train by ``self.history_ = self._train(...)``;
* end the names of fitted attributes in an underscore, private ones too (``_network_``);
* predict with networks from ``self._on_device(self._network_)`` and generators from
  ``self._generator(stream)``;
* say what a fit consists of, in `_fitted_state` and `_restore_fitted_state`.
"""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Self, TypeVar

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from ..training.batches import derived_seed
from ..training.global_state import preserved_torch_state
from ..training.loop import fit_network
from ..training.options import TrainingHistory, TrainingOptions
from ..training.plan import HeldOutLoss, Objective
from .devices import DeviceError, DeviceWarning, on_cpu, resolve_device
from .json_codec import Encoder, NotStorableError
from .persistence import REGISTRY, ModelContent, ModelFileError, read_model_file, write_model_file
from .random_state import integer_seed, private_generator

__all__ = ["DiffusionEstimator"]

_TRAINING = 1_000_000  # first number of the random streams of training; predictions use smaller ones

_Network = TypeVar("_Network", bound=nn.Module)


class DiffusionEstimator(BaseEstimator, ABC):  # type: ignore[misc, unused-ignore]
    """Base of the estimators; see the module's text for what a subclass provides.

    Attributes
    ----------
    seed_ : int
        The integer on which all random streams of this fit and of its predictions hang.
    history_ : TrainingHistory
        Losses during training and the steps whose weights were kept.
    """

    random_state: Any
    device: str
    verbose: bool
    trainer_options: Mapping[str, Any] | None
    checkpoint: str | os.PathLike[str] | None

    seed_: int
    history_: TrainingHistory

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        REGISTRY[cls.__name__] = cls

    @abstractmethod
    def _fitted_state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a fit consists of: tensors, and values that are no tensors.

        The second may hold None, booleans, numbers, strings, lists, tuples, dictionaries and NumPy arrays.
        `seed_`, `history_`, `n_features_in_` and `feature_names_in_` are stored without being named here.
        """

    @abstractmethod
    def _restore_fitted_state(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Set the fitted attributes from what `_fitted_state` returned."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the fitted estimator to one file.

        Parameters
        ----------
        path : path-like
            The file, by custom ending in ``.safetensors``; one that exists is replaced once the new one is
            complete.

        Raises
        ------
        NotFittedError
            If there is nothing to save.
        FileNotFoundError
            If the folder does not exist.

        Warns
        -----
        UserWarning
            If a constructor parameter is an object that cannot be stored (a generator, a callback); the
            default is stored in its place.
        """
        check_is_fitted(self)
        tensors, values = self._fitted_state()
        parameters = self._storable_parameters()
        fitted = {"own": values, "common": self._common_state()}
        write_model_file(path, ModelContent(type(self).__name__, parameters, tensors, fitted))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Load an estimator that `save` wrote; no code in the file is executed.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        estimator
            An instance of this class (of whatever class the file names, if called on `DiffusionEstimator`).

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ModelFileError
            If the file is damaged, of another kind, of a newer version, or holds another estimator.

        Warns
        -----
        DeviceWarning
            If the model's `device` is not there; it will predict on the CPU.
        """
        content = read_model_file(path)
        found = cls if content.class_name == cls.__name__ else REGISTRY.get(content.class_name)
        if found is None or not issubclass(found, cls):
            known = "" if found else " (a class that is not known here: import it, or upgrade sciffusion)"
            raise ModelFileError(
                f"{os.fspath(path)!r} holds a {content.class_name}{known}, not a {cls.__name__}; load it "
                f"with {content.class_name}.load"
            )
        try:
            estimator: Self = found(**content.parameters)
            estimator._restore_common_state(content.fitted["common"])
            with preserved_torch_state(torch.device("cpu"), 0):  # building networks draws from global streams
                estimator._restore_fitted_state(content.tensors, content.fitted["own"])
        except (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ModelFileError(
                f"{os.fspath(path)!r} does not fit this version of {content.class_name} "
                f"({type(error).__name__}: {error}); load it with the version that wrote it, or fit again"
            ) from error
        estimator._note_missing_device()
        return estimator

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {name: on_cpu(value) for name, value in super().__getstate__().items()}
        state.pop("_missing_device", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._note_missing_device()

    def _new_seed(self) -> int:
        """Return the seed of a new fit, from `random_state`."""
        return integer_seed(self.random_state)

    def _generator(self, *stream: int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a fresh generator for random stream `stream` of this fit."""
        return private_generator(self.seed_, *stream, device=device)

    def _private_streams(self, *stream: int) -> AbstractContextManager[None]:
        """Return a context in which torch's global streams are those of this fit; restored on leaving it.

        Networks are built in it: the layers of torch take their first weights from the global stream.
        """
        return preserved_torch_state(torch.device("cpu"), derived_seed(self.seed_, *stream))

    def _train(
        self,
        network: nn.Module,
        objective: Objective,
        data: tuple[Tensor, ...],
        *,
        options: TrainingOptions,
        held_out: HeldOutLoss | None = None,
        description: str = "",
        stream: int = 0,
    ) -> TrainingHistory:
        """Train `network` in place with this estimator's device, seed, verbosity, trainer and checkpoint.

        The parameters are those of `sciffusion.training.fit_network`; `stream` sets networks of one fit
        apart from each other, whose checkpoints are then ``<checkpoint>``, ``<checkpoint>.1``, ...
        """
        checkpoint, options_given = self.checkpoint, self.trainer_options
        if not (options_given is None or isinstance(options_given, Mapping)):
            raise TypeError(
                f"trainer_options must be a mapping of Trainer's keyword arguments, got {options_given!r:.80}"
            )
        if not (checkpoint is None or isinstance(checkpoint, str | os.PathLike)):
            raise TypeError(f"checkpoint must be the path of a file, got {checkpoint!r:.80}")
        if checkpoint is not None and self.random_state is None:
            raise ValueError(
                "checkpoint needs random_state to be an integer, got None: with another seed each time, a "
                "fit could not be taken up again"
            )
        if checkpoint is not None and stream:
            checkpoint = f"{os.fspath(checkpoint)}.{stream}"
        return fit_network(
            network,
            objective,
            data,
            options=options,
            seed=derived_seed(self.seed_, _TRAINING, stream),
            held_out=held_out,
            device=resolve_device(self.device),
            trainer_options=options_given,
            checkpoint=checkpoint,
            description=f"{type(self).__name__} {description}",
            verbose=bool(self.verbose),
        )

    def _compute_device(self) -> torch.device:
        """Return the device for predictions: `device`, or the CPU where that of a loaded model is missing."""
        if getattr(self, "_missing_device", None) == str(self.device):
            return torch.device("cpu")
        return resolve_device(self.device)

    def _on_device(self, network: _Network) -> _Network:
        """Return `network`, moved to the device for predictions and in evaluation mode."""
        return network.to(self._compute_device()).eval()

    def _note_missing_device(self) -> None:
        try:
            resolve_device(getattr(self, "device", "auto"))
        except DeviceError as error:
            self._missing_device = str(self.device)
            warnings.warn(f"{error}. This model predicts on the CPU.", DeviceWarning, stacklevel=3)
        except (TypeError, ValueError):
            pass  # a wrong parameter is refused when it is used, as scikit-learn's convention has it

    def _storable_parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = self.get_params(deep=False)
        for name, value in parameters.items():
            try:
                Encoder().encode(os.fspath(value) if isinstance(value, os.PathLike) else value)
            except NotStorableError:
                parameters[name] = type(self)().get_params(deep=False)[name]
                warnings.warn(
                    f"the parameter {name}={value!r:.80} cannot be stored; the file holds the default "
                    f"{parameters[name]!r}",
                    UserWarning,
                    stacklevel=3,
                )
            else:
                parameters[name] = os.fspath(value) if isinstance(value, os.PathLike) else value
        return parameters

    def _common_state(self) -> dict[str, Any]:
        common: dict[str, Any] = {}
        for name in ("seed_", "n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                common[name] = getattr(self, name)
        if hasattr(self, "history_"):
            common["history_"] = self.history_.to_dict()
        return common

    def _restore_common_state(self, common: dict[str, Any]) -> None:
        for name, value in common.items():
            if name == "history_":
                self.history_ = TrainingHistory.from_dict(value)
            elif name == "feature_names_in_":
                self.feature_names_in_ = np.asarray(value, dtype=object)
            elif name in ("seed_", "n_features_in_"):
                setattr(self, name, int(value))
            else:
                raise ValueError(f"unknown fitted value {name!r}")
