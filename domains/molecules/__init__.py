"""Molecules as strings: SMILES and SELFIES from guided discrete diffusion."""
