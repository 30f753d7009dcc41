"""Networks: perceptron ensembles, transformers and embeddings, in plain torch."""

from __future__ import annotations

from sciffusion.networks.embeddings import angle_embedding, sinusoidal_embedding
from sciffusion.networks.mlp import ConditionalMLP, EncodedCondition, EnsembleLinear
from sciffusion.networks.token_transformer import TokenTransformer
from sciffusion.networks.transformer import ModulatedTransformer
from sciffusion.networks.two_time import TwoTimeMLP

__all__ = [
    "ConditionalMLP",
    "EncodedCondition",
    "EnsembleLinear",
    "ModulatedTransformer",
    "TokenTransformer",
    "TwoTimeMLP",
    "angle_embedding",
    "sinusoidal_embedding",
]
