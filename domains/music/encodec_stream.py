r"""Convolutions and recurrent layers of the package encodec, evaluated piece by piece.

The causal networks of EnCodec are sequences of strided convolutions, residual blocks of convolutions, LSTMs
and transposed convolutions. Each carries a state from piece to piece:

- a convolution with kernel k, dilation d and stride s the last :math:`(k - 1) d - (s - 1)` inputs;
- a transposed convolution with kernel k and stride s the :math:`k - s` outputs that the next inputs add to;
- an LSTM its hidden values and cells.

At the start of a sequence the package reflects the first inputs of a convolution to the left, so that early
outputs depend on later inputs, which a stream does not have yet. That happens here, too, where there is no
state, and only there: a first piece (longer than every reflection) followed by others is what the package
computes from all of them at once, but for rounding.

Défossez et al., *High Fidelity Neural Audio Compression*, arXiv 2210.13438 (the architecture).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PieceWise", "piecewise"]

_ELEMENTWISE = (nn.ELU, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Identity)


class _Elementwise(nn.Module):
    def __init__(self, function: nn.Module) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, state: Mapping[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        return self.function(x), {}


class _Convolution(nn.Module):
    """A causal convolution; its state is the input that the next outputs still need."""

    def __init__(self, convolution: nn.Conv1d, pad_mode: str) -> None:
        super().__init__()
        self.convolution, self.pad_mode = convolution, pad_mode
        kernel, stride, dilation = (
            part[0] for part in (convolution.kernel_size, convolution.stride, convolution.dilation)
        )
        self.history = (kernel - 1) * dilation - (stride - 1)

    def forward(self, x: Tensor, state: Mapping[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        if self.history == 0:
            return self.convolution(x), {}
        if state is None:
            seen = functional.pad(x, (self.history, 0), mode=self.pad_mode)
        else:
            seen = torch.cat([state["history"], x], dim=-1)
        return self.convolution(seen), {"history": seen[..., -self.history :].clone()}


class _Transposed(nn.Module):
    """A causal transposed convolution; its state is what it has added to outputs that are not finished."""

    def __init__(self, convolution: nn.ConvTranspose1d) -> None:
        super().__init__()
        self.convolution = convolution
        self.stride = convolution.stride[0]
        self.overlap = convolution.kernel_size[0] - self.stride

    def forward(self, x: Tensor, state: Mapping[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        weight, bias = self.convolution.weight, self.convolution.bias
        made = functional.conv_transpose1d(x, weight, None, self.stride)
        if state is not None:
            made[..., : self.overlap] += state["overlap"]
        finished = x.shape[-1] * self.stride
        out = made[..., :finished]
        if bias is not None:
            out = out + bias[:, None]
        return out, {"overlap": made[..., finished:].clone()}


class _Recurrent(nn.Module):
    """An LSTM along time, with a skip connection where the package has one."""

    def __init__(self, lstm: nn.LSTM, skip: bool) -> None:
        super().__init__()
        self.lstm, self.skip = lstm, skip

    def forward(self, x: Tensor, state: Mapping[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        steps = x.permute(2, 0, 1)
        before = None if state is None else (state["hidden"], state["cell"])
        out, (hidden, cell) = self.lstm(steps, before)
        if self.skip:
            out = out + steps
        return out.permute(1, 2, 0), {"hidden": hidden, "cell": cell}


class _Residual(nn.Module):
    def __init__(self, branch: PieceWise, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: Tensor, state: Mapping[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        made, own = self.branch(x, _part(state, "branch"))
        kept, beside = self.shortcut(x, _part(state, "shortcut"))
        return made + kept, _named("branch", own) | _named("shortcut", beside)


class PieceWise(nn.Module):
    """Layers one after the other, evaluated piece by piece.

    Parameters
    ----------
    layers : sequence of modules
        Called as ``layer(x, state)``.
    """

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, state: Mapping[str, Tensor] | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the outputs of the next inputs, and the state after them.

        Parameters
        ----------
        x : Tensor of shape ``(batch, channels, steps)``
        state : mapping, or None at the start of a sequence
            Never changed.
        """
        after: dict[str, Tensor] = {}
        for place, layer in enumerate(self.layers):
            x, own = layer(x, _part(state, str(place)))
            after |= _named(str(place), own)
        return x, after


def _part(state: Mapping[str, Tensor] | None, place: str) -> dict[str, Tensor] | None:
    """Return the state of one layer."""
    if state is None:
        return None
    start = place + "."
    return {name[len(start) :]: part for name, part in state.items() if name.startswith(start)}


def _named(place: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of one layer as part of that of all."""
    return {f"{place}.{name}": part for name, part in state.items()}


def piecewise(sequence: nn.Module) -> PieceWise:
    """Return a causal network of the package encodec for evaluation piece by piece, sharing its weights.

    Parameters
    ----------
    sequence : nn.Sequential
        What ``SEANetEncoder(...).model`` and ``SEANetDecoder(...).model`` are, with plain weights.

    Raises
    ------
    TypeError
        For a layer that is not known to be causal.
    """
    return PieceWise([_layer(module) for module in sequence.children()])


def _layer(module: nn.Module) -> nn.Module:
    kind = type(module).__name__
    if isinstance(module, _ELEMENTWISE):
        return _Elementwise(module)
    if kind == "SLSTM":
        return _Recurrent(module.lstm, module.skip)  # type: ignore[arg-type]
    if kind == "SEANetResnetBlock":
        return _Residual(piecewise(module.block), _layer(module.shortcut))  # type: ignore[arg-type]
    if kind == "SConv1d" and module.causal:
        return _Convolution(module.conv.conv, module.pad_mode)  # type: ignore[union-attr,arg-type]
    if kind == "SConvTranspose1d" and module.causal and module.trim_right_ratio == 1.0:
        return _Transposed(module.convtr.convtr)  # type: ignore[union-attr,arg-type]
    raise TypeError(f"a layer {kind} of the package encodec cannot be evaluated piece by piece: {module}")
