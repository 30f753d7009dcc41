"""Targets whose scores, posteriors, flows and samples are known in closed form."""

from sciffusion.exact.gaussian import GaussianTarget
from sciffusion.exact.mixture import GaussianMixtureTarget
from sciffusion.exact.reweighted import LogNormaliser, QuadraticTilt, ReweightedMixture, reweighted_mixture
from sciffusion.exact.target import ExactDenoiser, ExactTarget

__all__ = [
    "ExactDenoiser",
    "ExactTarget",
    "GaussianMixtureTarget",
    "GaussianTarget",
    "LogNormaliser",
    "QuadraticTilt",
    "ReweightedMixture",
    "reweighted_mixture",
]
