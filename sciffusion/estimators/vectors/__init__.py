"""Diffusion of the rows of a table: what density estimation and anomaly detection share."""
