"""Guidance: changing the predictions of a trained denoiser while sampling."""

from sciffusion.sampling.guidance.base import Guidance, GuidedDenoiser
from sciffusion.sampling.guidance.classifier_free import AutoGuidance, ClassifierFreeGuidance
from sciffusion.sampling.guidance.density import DensityGuidance
from sciffusion.sampling.guidance.density_noise import DensityControlledNoise, MedianNormStart
from sciffusion.sampling.guidance.discrete_classifier import DiscreteClassifier
from sciffusion.sampling.guidance.discrete_free import DiscreteClassifierFree
from sciffusion.sampling.guidance.events import Event, EventGuidance, as_events
from sciffusion.sampling.guidance.likelihood import Likelihood, log_likelihood
from sciffusion.sampling.guidance.posterior import PosteriorGuidance
from sciffusion.sampling.guidance.reward import RewardGuidance

__all__ = [
    "AutoGuidance",
    "ClassifierFreeGuidance",
    "DensityControlledNoise",
    "DensityGuidance",
    "DiscreteClassifier",
    "DiscreteClassifierFree",
    "Event",
    "EventGuidance",
    "Guidance",
    "GuidedDenoiser",
    "Likelihood",
    "MedianNormStart",
    "PosteriorGuidance",
    "RewardGuidance",
    "as_events",
    "log_likelihood",
]
