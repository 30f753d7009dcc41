"""Guidance: changing the predictions of a trained denoiser while sampling."""

from sciffusion.sampling.guidance.base import Guidance, GuidedDenoiser

__all__ = ["Guidance", "GuidedDenoiser"]
