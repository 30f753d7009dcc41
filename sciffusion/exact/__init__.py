"""Targets whose scores, posteriors, flows and samples are known in closed form."""

from sciffusion.exact.autoregressive import AutoregressiveTarget
from sciffusion.exact.empirical import EmpiricalTarget
from sciffusion.exact.gaussian import GaussianTarget
from sciffusion.exact.imperfect_tokens import ImperfectTokenDenoiser
from sciffusion.exact.markov_chain import ExactTokenDenoiser, MarkovChainOracle
from sciffusion.exact.mixture import GaussianMixtureTarget
from sciffusion.exact.product import ProductTarget
from sciffusion.exact.reweighted import LogNormaliser, QuadraticTilt, ReweightedMixture, reweighted_mixture
from sciffusion.exact.target import ExactDenoiser, ExactTarget
from sciffusion.exact.token_law import (
    TokenLaw,
    TokenLawError,
    every_sequence,
    propagate_tokens,
    sampler_error,
)

__all__ = [
    "AutoregressiveTarget",
    "EmpiricalTarget",
    "ExactDenoiser",
    "ExactTarget",
    "ExactTokenDenoiser",
    "GaussianMixtureTarget",
    "GaussianTarget",
    "ImperfectTokenDenoiser",
    "LogNormaliser",
    "MarkovChainOracle",
    "ProductTarget",
    "QuadraticTilt",
    "ReweightedMixture",
    "TokenLaw",
    "TokenLawError",
    "every_sequence",
    "propagate_tokens",
    "reweighted_mixture",
    "sampler_error",
]
