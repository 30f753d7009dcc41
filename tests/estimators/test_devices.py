from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from sciffusion.estimators.devices import DeviceError, on_cpu, resolve_device


@pytest.mark.parametrize(("there", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_takes_cuda_first(monkeypatch: pytest.MonkeyPatch, there: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "cpu:0", "AUTO", "meta"])
def test_unknown_devices_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"'auto', 'cpu'.*{name!r}"):
        resolve_device(name)
    with pytest.raises(TypeError, match="device"):
        resolve_device(0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "built", "available", "message"),
    [
        ("cuda", None, False, "built without CUDA.*device='cpu'"),
        ("cuda", "13.0", False, "CUDA_VISIBLE_DEVICES.*device='cpu'"),
        ("cuda:4", "13.0", True, "has 2 CUDA"),
        ("mps", None, False, "Apple.*device='cpu'"),
    ],
)
def test_missing_devices_are_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, built: str | None, available: bool, message: str
) -> None:
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=message):
        resolve_device(name)


def test_what_is_on_the_cpu_is_not_copied() -> None:
    network, tensor = nn.Linear(2, 2), torch.zeros(3)
    value: dict[str, Any] = {"a": [network, (tensor, "text")], "b": 3}
    moved = on_cpu(value)
    assert moved["a"][0] is network
    assert moved["a"][1][0] is tensor
    assert moved["a"][1][1] == "text"


def test_networks_elsewhere_are_copied_and_left_in_place() -> None:
    # The meta device stands in for an accelerator; moving from it is what must be attempted.
    network = nn.Linear(2, 2, device="meta")
    with pytest.raises(NotImplementedError, match="meta"):
        on_cpu([network])
    assert network.weight.device.type == "meta"
