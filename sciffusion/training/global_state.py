"""Contexts that leave the process as it was found.

A fit must not change what the caller's own code depends on: torch's random streams, its default dtype and
threads, the deterministic flags, Python's warning filters and the log levels of Lightning. Layers such as
dropout can only draw from torch's global stream; inside `preserved_torch_state` that stream starts from a
seed of the fit, so such networks train reproducibly too.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

__all__ = [
    "InterruptFlag",
    "deferred_interrupt",
    "limited_threads",
    "preserved_torch_state",
    "quiet_lightning",
]

#: Held by the thread that has taken over the global settings; reentrant, as a fit may build networks.
_TURN = threading.RLock()

_CHATTY_LOGGERS = (
    "pytorch_lightning",
    "lightning_fabric",
    "lightning",
    "lightning.pytorch",
    "lightning.fabric",
)
_CHATTY_MODULES = r"(pytorch_lightning|lightning|lightning_fabric|lightning_utilities|torchmetrics)(\.|$)"


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Compute with so many threads of torch, and with as many as before afterwards.

    Networks this small only lose time to more threads, most of all where other programs use the cores.

    Parameters
    ----------
    count : int >= 1
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def preserved_torch_state(device: torch.device, seed: int) -> Iterator[None]:
    """Run a block with torch's global random streams seeded, and restore all global settings afterwards.

    These settings belong to the process, so threads take turns: a block waits until no other thread is inside
    one. Fits that shall run at the same time need processes of their own (joblib's default).

    Parameters
    ----------
    device : torch.device
        Device whose random stream is used besides the CPU's.
    seed : int
        Seed of the global streams inside the block.
    """
    with _TURN, _restored_settings(device):
        _seed_streams(device, seed)
        yield


@contextmanager
def _restored_settings(device: torch.device) -> Iterator[None]:
    accelerated = device.type in ("cuda", "mps")
    devices = [device.index or 0] if accelerated else []
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn
    flags = (cudnn.benchmark, cudnn.deterministic)
    current = torch.cuda.current_device() if device.type == "cuda" else None
    try:
        with torch.random.fork_rng(devices, device_type=device.type if accelerated else "cuda"):
            yield
    finally:
        torch.set_default_dtype(dtype)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        cudnn.benchmark, cudnn.deterministic = flags
        if current is not None:
            torch.cuda.set_device(current)


def _seed_streams(device: torch.device, seed: int) -> None:
    # torch.manual_seed would seed every accelerator of the machine, also those that are not restored.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's notes and warnings about itself away from the user; errors pass.

    Warnings raised by the caller's own objective are not touched.
    """
    loggers = [logging.getLogger(name) for name in _CHATTY_LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=_CHATTY_MODULES)
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


class InterruptFlag:
    """Says whether Ctrl-C was pressed, or the process was told to end, since the flag was made."""

    def __init__(self) -> None:
        self.raised = False


@contextmanager
def deferred_interrupt(active: bool) -> Iterator[InterruptFlag]:
    """Turn the first Ctrl-C or SIGTERM into a flag, so that the update under way can be finished and saved.

    A second one interrupts at once, and with ``active=False`` the first one. After a SIGTERM the process ends
    by it, as without this block: Lightning by itself would only look at it between evaluations. Handlers of
    the caller's own for SIGTERM are left alone. Outside the main thread, where Python delivers no signals,
    nothing is changed.
    """
    flag = InterruptFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    with _ended_by_sigterm(flag, active), _flagged_ctrl_c(flag, active):
        yield flag


@contextmanager
def _flagged_ctrl_c(flag: InterruptFlag, active: bool) -> Iterator[None]:
    if not active:
        yield
        return
    previous = signal.getsignal(signal.SIGINT) or signal.SIG_DFL

    def note(signum: int, frame: FrameType | None) -> None:
        flag.raised = True
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _ended_by_sigterm(flag: InterruptFlag, active: bool) -> Iterator[None]:
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    received = False

    def end(signum: int, frame: FrameType | None) -> None:
        nonlocal received
        at_once = received or not active
        flag.raised = received = True
        if at_once:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if received:
            signal.raise_signal(signal.SIGTERM)
