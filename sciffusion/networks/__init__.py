"""Networks: perceptron ensembles, transformers and embeddings, in plain torch."""

from __future__ import annotations

from sciffusion.networks.block_causal import BlockCausalTransformer
from sciffusion.networks.block_latents import BlockLatentDenoiser, BlockLatentTransformer
from sciffusion.networks.block_network import BlockNetwork, block_times
from sciffusion.networks.block_tokens import BlockTokenTransformer
from sciffusion.networks.count_mlp import CountMLP
from sciffusion.networks.embeddings import angle_embedding, sinusoidal_embedding
from sciffusion.networks.encoder_decoder import ContextCache, EncoderDecoderTransformer
from sciffusion.networks.kv_ring import KVRing
from sciffusion.networks.mlp import ConditionalMLP, EncodedCondition, EnsembleLinear
from sciffusion.networks.packed_linear import PackedLinear, packed
from sciffusion.networks.token_transformer import TokenTransformer
from sciffusion.networks.transformer import ModulatedTransformer
from sciffusion.networks.two_time import TwoTimeMLP

__all__ = [
    "BlockCausalTransformer",
    "BlockLatentDenoiser",
    "BlockLatentTransformer",
    "BlockNetwork",
    "BlockTokenTransformer",
    "ConditionalMLP",
    "ContextCache",
    "CountMLP",
    "EncodedCondition",
    "EncoderDecoderTransformer",
    "EnsembleLinear",
    "KVRing",
    "ModulatedTransformer",
    "PackedLinear",
    "TokenTransformer",
    "TwoTimeMLP",
    "angle_embedding",
    "block_times",
    "packed",
    "sinusoidal_embedding",
]
