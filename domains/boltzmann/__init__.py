"""Boltzmann sampling: configurations of particles at one temperature, drawn at another or in another potential."""

from __future__ import annotations

__all__: list[str] = []
