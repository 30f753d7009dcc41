"""Sampling: the state, the driver, time grids, hooks and compute policies."""

from sciffusion.sampling.compute import ComputePolicy, EveryStep
from sciffusion.sampling.driver import SampleResult, sample
from sciffusion.sampling.grids import angle_grid, log_snr_grid, power_grid, uniform_grid
from sciffusion.sampling.guidance import Guidance, GuidedDenoiser
from sciffusion.sampling.hooks import Hook, ProjectionHook, TraceRecorder
from sciffusion.sampling.state import State

__all__ = [
    "ComputePolicy",
    "EveryStep",
    "Guidance",
    "GuidedDenoiser",
    "Hook",
    "ProjectionHook",
    "SampleResult",
    "State",
    "TraceRecorder",
    "angle_grid",
    "log_snr_grid",
    "power_grid",
    "sample",
    "uniform_grid",
]
