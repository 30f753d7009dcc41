"""The autoregressive peer: the same transformer under a causal mask, and draws from it with kept keys."""

from __future__ import annotations

import torch
from torch import Tensor

from sciffusion.discrete import draw_categorical
from sciffusion.networks import KVRing
from sciffusion.networks.embeddings import angle_embedding
from sciffusion.networks.token_transformer import TokenTransformer

__all__ = ["draw_strings", "next_token_logits"]


def next_token_logits(network: TokenTransformer, tokens: Tensor) -> Tensor:
    """Return logits of every token given the ones before it.

    Parameters
    ----------
    network : TokenTransformer
        Its last noisy token stands for the beginning of a string.
    tokens : Tensor of int64, shape ``(items, sites)``
        Clean tokens; the last one is not read.

    Returns
    -------
    Tensor of shape ``(items, sites, vocab_size)``
    """
    start = tokens.new_full((len(tokens), 1), _beginning(network))
    x = network.embedding(torch.cat([start, tokens[:, :-1]], dim=1))
    n_sites = tokens.shape[1]
    visible = torch.ones(n_sites, n_sites, dtype=torch.bool, device=tokens.device).tril()
    logits: Tensor = network.output(network.transformer(x, _modulation(network), visible=visible))
    return logits


@torch.inference_mode()
def draw_strings(network: TokenTransformer, count: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw strings token by token, each evaluation of one token a string.

    Parameters
    ----------
    network : TokenTransformer
        Trained; the pad, its last clean token, ends a string.
    count, length : int
        Strings, and their sites.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor of int64, shape ``(count, length)``
        Padded after the end.
    """
    device, pad = network.embedding.weight.device, network.sizes["vocab_size"] - 1
    rows = torch.full((count, length), pad, dtype=torch.int64, device=device)
    token = rows.new_full((count,), _beginning(network))
    open_rows = torch.ones(count, dtype=torch.bool, device=device)
    ring = _empty_ring(network, count, length)
    modulation = _modulation(network)
    for site in range(length):
        x = _embedded(network, token, site)
        visible = torch.cat([ring.valid, ring.valid.new_ones(1)])[None]
        position = torch.tensor([site], device=device)
        with torch.autocast(device.type, torch.bfloat16):
            past = ring.key_values
            out, new = network.transformer.with_keys(x, modulation, position, visible, past)
            logits = network.output(out)[:, 0]
        ring = ring.append(new, in_place=True)
        token = torch.where(open_rows, draw_categorical(logits.float(), generator).to(device), pad)
        rows[:, site] = token
        open_rows = open_rows & (token != pad)
        if not bool(open_rows.any()):
            break
    return rows


def _embedded(network: TokenTransformer, token: Tensor, site: int) -> Tensor:
    """Return the embedding of one token of every string at a site, ``(count, 1, width)``."""
    row = token.new_zeros(len(token), site + 1)
    row[:, site] = token
    out: Tensor = network.embedding(row)[:, site:]
    return out


def _beginning(network: TokenTransformer) -> int:
    return int(network.sizes["state_size"]) - 1


def _empty_ring(network: TokenTransformer, count: int, length: int) -> KVRing:
    heads = network.sizes["n_heads"]
    return KVRing.empty(
        network.sizes["depth"], count, heads, length, network.sizes["width"] // heads,
        dtype=torch.bfloat16, device=network.embedding.weight.device,
    )  # fmt: skip


def _modulation(network: TokenTransformer) -> Tensor:
    """Return the modulation at time 0, the only one that this family uses."""
    n_frequencies = network.time_embedding[0].in_features // 2
    told = torch.zeros(1, 1, device=network.embedding.weight.device)
    out: Tensor = network.time_embedding(angle_embedding(told, n_frequencies).float())
    return out
