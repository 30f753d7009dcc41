"""Targets whose scores, posteriors, flows and samples are known in closed form."""

from sciffusion.exact.autoregressive import AutoregressiveTarget
from sciffusion.exact.empirical import EmpiricalTarget
from sciffusion.exact.gaussian import GaussianTarget
from sciffusion.exact.markov_chain import ExactTokenDenoiser, MarkovChainOracle
from sciffusion.exact.mixture import GaussianMixtureTarget
from sciffusion.exact.product import ProductTarget
from sciffusion.exact.reweighted import LogNormaliser, QuadraticTilt, ReweightedMixture, reweighted_mixture
from sciffusion.exact.target import ExactDenoiser, ExactTarget

__all__ = [
    "AutoregressiveTarget",
    "EmpiricalTarget",
    "ExactDenoiser",
    "ExactTarget",
    "ExactTokenDenoiser",
    "GaussianMixtureTarget",
    "GaussianTarget",
    "LogNormaliser",
    "MarkovChainOracle",
    "ProductTarget",
    "QuadraticTilt",
    "ReweightedMixture",
    "reweighted_mixture",
]
