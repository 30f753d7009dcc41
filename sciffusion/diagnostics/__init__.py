"""Diagnostics: what a denoiser or a sampler does wrong, measured against what it should do."""

__all__: list[str] = []
