"""A fitted forecaster as numbers, strings and arrays, and back; network weights are kept as tensors apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base_forecast import BaseForecaster, BaseSettings
from .exogenous import CovariateScale
from .frame_format import FrameFormat
from .gap_base import GapBase
from .model import ForecastModel
from .own_stack import OwnStack
from .panel import Panel
from .recalibration import Recalibration
from .residual_law import ResidualLaw
from .ridge import DirectRidge
from .spread import Spread
from .stack import Stack
from .tokens import InputScale
from .window_network import WindowNetwork

__all__ = ["model_values", "panel_values", "restored_model", "restored_panel"]

_PANEL_ARRAYS = ("values", "lengths", "last_step", "past", "future", "static")
_PANEL_NAMES = ("channel_names", "past_names", "future_names", "static_names")


def panel_values(panel: Panel) -> dict[str, Any]:
    """Return a panel as values that a model file can hold."""
    values: dict[str, Any] = {name: getattr(panel, name) for name in _PANEL_ARRAYS}
    values |= {name: list(getattr(panel, name)) for name in _PANEL_NAMES}
    ids = [one.item() if isinstance(one, np.generic) else one for one in panel.ids]
    return values | {"ids": ids, "frequency": panel.frequency, "format": panel.frame_format.plain()}


def restored_panel(values: dict[str, Any]) -> Panel:
    """Return the panel of what `panel_values` gave."""
    arrays: dict[str, Any] = {name: np.asarray(values[name]) for name in _PANEL_ARRAYS}
    names: dict[str, Any] = {name: tuple(values[name]) for name in _PANEL_NAMES}
    return Panel(
        ids=tuple(values["ids"]), frequency=values["frequency"],
        frame_format=FrameFormat(**values["format"]), **arrays, **names,
    )  # fmt: skip


def model_values(model: ForecastModel) -> dict[str, Any]:
    """Return a model as values that a model file can hold, its network's weights apart."""
    base, network = model.base, model.network
    return {
        "settings": {
            "horizon": base.settings.horizon,
            "periods": list(base.settings.periods),
            "context_length": base.settings.context_length,
        },
        "covariates": _fields(base.covariates),
        "ridge": _fields(base.ridge),
        "stack": _fields(base.stack),
        "spread": _fields(base.spread),
        "own": None if base.own is None else _fields(base.own),
        "law": _fields(model.law),
        "gaps": None if model.gaps is None else _gap_values(model.gaps),
        "input_scale": _fields(model.input_scale),
        "lower_bound": model.lower_bound,
        "recalibration": _fields(model.recalibration),
        "network": None if network is None else network.sizes,
    }


def restored_model(tensors: dict[str, Tensor], values: dict[str, Any]) -> ForecastModel:
    """Return the model of what `model_values` gave, with the weights of its network."""
    given = values["settings"]
    settings = BaseSettings(int(given["horizon"]), tuple(given["periods"]), int(given["context_length"]))
    base = BaseForecaster(
        settings,
        CovariateScale(**values["covariates"]),
        DirectRidge(**values["ridge"]),
        _stack(values["stack"]),
        _spread(values["spread"]),
        None if values["own"] is None else OwnStack(tuple(values["own"]["rows"]), values["own"]["weights"]),
    )
    network = None
    if values["network"] is not None:
        network = WindowNetwork(**values["network"], generator=torch.Generator().manual_seed(0))
        network.load_state_dict(tensors)
        network.eval()
    law, input_scale = ResidualLaw(**values["law"]), InputScale(**values["input_scale"])
    gaps = None if values["gaps"] is None else _gap_base(values["gaps"])
    recalibration = Recalibration(**values["recalibration"])
    return ForecastModel(base, law, input_scale, network, values["lower_bound"], gaps, recalibration)


def _gap_values(gaps: GapBase) -> dict[str, Any]:
    return _fields(gaps) | {"stack": _fields(gaps.stack), "spread": _fields(gaps.spread)}


def _gap_base(values: dict[str, Any]) -> GapBase:
    parts = {"stack": _stack(values["stack"]), "spread": _spread(values["spread"])}
    return GapBase(**(values | parts | {"periods": tuple(values["periods"])}))


def _stack(values: dict[str, Any]) -> Stack:
    return Stack(tuple(values["names"]), values["weights"])


def _spread(values: dict[str, Any]) -> Spread:
    return Spread(tuple(values["names"]), values["weights"])


def _fields(part: Any) -> dict[str, Any]:
    fields = {name: getattr(part, name) for name in part.__dataclass_fields__}
    return {name: list(one) if isinstance(one, tuple) else one for name, one in fields.items()}
