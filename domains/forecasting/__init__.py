"""Probabilistic forecasting: one fitted diffusion model that forecasts, imputes, scores and answers events."""

from __future__ import annotations

from .panel import Panel

__all__ = ["Panel"]
