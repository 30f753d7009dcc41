"""The line-up of the comparison: names, and how to make each model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import forecast_cheap_peers as cheap
import forecast_statistical_peers as statistical
from forecast_models import ForecastModel
from forecast_neural_peers import DeepAutoregression
from forecast_ours import OurForecaster
from forecast_quantile_network import QuantileNetwork

__all__ = ["MODELS", "NETWORK_OFF", "OUR_DEFAULT", "PEERS", "REFERENCE", "ComparedModel"]

OUR_DEFAULT = "DiffusionForecaster"
NETWORK_OFF = "network off"
REFERENCE = "RidgeResid"


@dataclass(frozen=True)
class ComparedModel:
    """One row of the tables.

    Attributes
    ----------
    make : callable
        Gives an unfitted model.
    is_peer : bool
        Whether it is a baseline and not ours.
    in_quick : bool
        Whether a reduced run includes it.
    """

    make: Callable[[], ForecastModel]
    is_peer: bool = True
    in_quick: bool = True


MODELS: dict[str, ComparedModel] = {
    "SeasonalNaive": ComparedModel(cheap.SeasonalNaive),
    "SeasonClim": ComparedModel(cheap.SeasonalClimatology),
    REFERENCE: ComparedModel(cheap.RidgeResiduals),
    "AutoTheta": ComparedModel(statistical.AutoTheta),
    "AutoETS": ComparedModel(statistical.AutoETS),
    "MSTL": ComparedModel(statistical.SeasonalTrend),
    "quantile MLP": ComparedModel(QuantileNetwork),
    "DeepAR": ComparedModel(DeepAutoregression, in_quick=False),
    OUR_DEFAULT: ComparedModel(OurForecaster, is_peer=False),
    NETWORK_OFF: ComparedModel(lambda: OurForecaster(network_off=True), is_peer=False),
}
PEERS = tuple(name for name, model in MODELS.items() if model.is_peer)
