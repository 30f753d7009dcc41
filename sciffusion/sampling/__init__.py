"""Sampling: the state, the driver, time grids, hooks and compute policies."""

from sciffusion.sampling.align_steps import AlignedSteps, align_steps, gaussian_klub, klub, refine_grid
from sciffusion.sampling.block_causal import BlockCausalGenerator
from sciffusion.sampling.block_stream import BlockSamples, BlockStream, GeneratedBlock
from sciffusion.sampling.compute import (
    BudgetedCompute,
    ComputePolicy,
    EveryStep,
    StaticRefresh,
    amplification_profile,
)
from sciffusion.sampling.discrete_steering import GuardedReward, TokenArgmax, TokenDraws, TokenSteering
from sciffusion.sampling.discrete_tilt import DiscreteTilt
from sciffusion.sampling.driftlite import AnalyticReward, DifferentiableReward, DriftLiteSampler
from sciffusion.sampling.driver import SampleResult, sample
from sciffusion.sampling.event_probability import (
    EventProbability,
    event_probability,
    probability_of_samples,
    probability_of_weighted,
)
from sciffusion.sampling.few_step import few_step_sample
from sciffusion.sampling.greedy_reveal import GreedyReveal
from sciffusion.sampling.grids import angle_grid, log_snr_grid, power_grid, uniform_grid
from sciffusion.sampling.guidance import Guidance, GuidedDenoiser
from sciffusion.sampling.hooks import Hook, ProjectionHook, ReflectionHook, TraceRecorder
from sciffusion.sampling.path_weights import WeightedSamples, weighted_samples
from sciffusion.sampling.rolling import RolledFrame, rolling_sample
from sciffusion.sampling.smc import (
    ParticleReport,
    Particles,
    effective_sample_size,
    systematic_resample,
)
from sciffusion.sampling.speculative import SpeculativeResult, speculative_sample
from sciffusion.sampling.speculative_tokens import SpeculativeTokens, speculative_tokens
from sciffusion.sampling.state import State
from sciffusion.sampling.steering import FeynmanKacSteering, GaussianDraws, PosteriorMean
from sciffusion.sampling.step_noise import StepNoise, step_generator
from sciffusion.sampling.time_maps import (
    BlockCausal,
    BoundaryPhase,
    KnownElements,
    MixedTimes,
    Pyramid,
    RollingWindow,
    SharedTime,
    TimeMap,
    local_grid,
)
from sciffusion.sampling.two_time import follow_curve, posterior_mean_slider, restore, slider_curve

__all__ = [
    "AlignedSteps",
    "AnalyticReward",
    "BlockCausal",
    "BlockCausalGenerator",
    "BlockSamples",
    "BlockStream",
    "BoundaryPhase",
    "BudgetedCompute",
    "ComputePolicy",
    "DifferentiableReward",
    "DiscreteTilt",
    "DriftLiteSampler",
    "EventProbability",
    "EveryStep",
    "FeynmanKacSteering",
    "GaussianDraws",
    "GeneratedBlock",
    "GreedyReveal",
    "GuardedReward",
    "Guidance",
    "GuidedDenoiser",
    "Hook",
    "KnownElements",
    "MixedTimes",
    "ParticleReport",
    "Particles",
    "PosteriorMean",
    "ProjectionHook",
    "Pyramid",
    "ReflectionHook",
    "RolledFrame",
    "RollingWindow",
    "SampleResult",
    "SharedTime",
    "SpeculativeResult",
    "SpeculativeTokens",
    "State",
    "StaticRefresh",
    "StepNoise",
    "TimeMap",
    "TokenArgmax",
    "TokenDraws",
    "TokenSteering",
    "TraceRecorder",
    "WeightedSamples",
    "align_steps",
    "amplification_profile",
    "angle_grid",
    "effective_sample_size",
    "event_probability",
    "few_step_sample",
    "follow_curve",
    "gaussian_klub",
    "klub",
    "local_grid",
    "log_snr_grid",
    "posterior_mean_slider",
    "power_grid",
    "probability_of_samples",
    "probability_of_weighted",
    "refine_grid",
    "restore",
    "rolling_sample",
    "sample",
    "slider_curve",
    "speculative_sample",
    "speculative_tokens",
    "step_generator",
    "systematic_resample",
    "uniform_grid",
    "weighted_samples",
]
