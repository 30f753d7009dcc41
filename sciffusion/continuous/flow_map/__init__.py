"""Flow maps: from one time to another along the probability flow at once."""

from __future__ import annotations

from sciffusion.continuous.flow_map.base import ExactFlowMap, FlowMap, SolverFlowMap
from sciffusion.continuous.flow_map.consistency import ConsistencyModel, ConsistencyObjective, TimeSource
from sciffusion.continuous.flow_map.trajectory import (
    TrajectoryModel,
    TrajectoryObjective,
    deterministic_move,
    soft_consistency,
)

__all__ = [
    "ConsistencyModel",
    "ConsistencyObjective",
    "ExactFlowMap",
    "FlowMap",
    "SolverFlowMap",
    "TimeSource",
    "TrajectoryModel",
    "TrajectoryObjective",
    "deterministic_move",
    "soft_consistency",
]
