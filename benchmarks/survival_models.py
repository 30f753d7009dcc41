"""The line-up of the comparison: names, how to make each model, and which sets it runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import survival_ours as ours
import survival_peers as peers
from survival_data import SurvivalData, is_small

__all__ = [
    "MODELS",
    "NETWORK_OFF",
    "OUR_DEFAULT",
    "PAPER_RECIPE",
    "PEERS",
    "REFERENCE",
    "ComparedModel",
    "models_for",
]

OUR_DEFAULT = "SDPMSurvival"
NETWORK_OFF = "network off"
PAPER_RECIPE = "SDPM paper recipe"
REFERENCE = "KM"


@dataclass(frozen=True)
class ComparedModel:
    """One row of the tables.

    Attributes
    ----------
    make : callable
        Gives an unfitted model.
    is_peer : bool
        Whether it is somebody else's model.
    small_only : bool
        Whether it runs only on the small sets, because it is slow.
    in_quick : bool
        Whether a reduced run includes it.
    """

    make: Callable[[], peers.SurvivalModel]
    is_peer: bool
    small_only: bool = False
    in_quick: bool = True


MODELS: dict[str, ComparedModel] = {
    REFERENCE: ComparedModel(peers.KaplanMeier, is_peer=False),
    "CoxPH": ComparedModel(peers.CoxRidge, is_peer=True),
    "Coxnet": ComparedModel(peers.Coxnet, is_peer=True),
    "RSF": ComparedModel(peers.Forest, is_peer=True),
    "GBSA": ComparedModel(peers.Boosting, is_peer=True),
    "DeepSurv": ComparedModel(peers.DeepSurv, is_peer=True),
    OUR_DEFAULT: ComparedModel(lambda: ours.OurModel(ours.default_estimator()), is_peer=False),
    NETWORK_OFF: ComparedModel(lambda: ours.OurModel(ours.network_off_estimator()), is_peer=False),
    PAPER_RECIPE: ComparedModel(
        lambda: ours.OurModel(ours.paper_estimator()), is_peer=False, small_only=True, in_quick=False
    ),
    "SurvivalBoost": ComparedModel(peers.TimeBoosting, is_peer=True, small_only=True, in_quick=False),
}
PEERS = tuple(name for name, model in MODELS.items() if model.is_peer)


def models_for(data: SurvivalData, names: list[str]) -> list[str]:
    """Give those of the named models that run on this set."""
    return [name for name in names if is_small(data) or not MODELS[name].small_only]
