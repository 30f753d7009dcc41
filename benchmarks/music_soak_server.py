"""The soak's server, in a process of its own: `python music_soak_server.py MODEL SESSIONS TITLE`.

Prints the address of the page on its first line and serves until it is ended.
"""

from __future__ import annotations

import sys
from typing import Any

from sciffusion.domains.music.diffusion import LiveMusicDiffusion
from sciffusion.domains.music.server import serve
from sciffusion.domains.music.server_offer import Offer


def main(model: str, sessions: int, title: str) -> None:
    """Serve the streams of a model file."""
    estimator = LiveMusicDiffusion.load(model).set_params(device="cpu", verbose=False)
    names = estimator.layout_.names
    offer = Offer(title, names, estimator.layout_.styles)

    def make_stream(*, seed: int, nfe: int | None = None, context: Any = None) -> Any:
        return estimator.stream(seed=seed, nfe=nfe, context=context)

    def announce(url: str) -> None:
        print(url, flush=True)

    serve(make_stream, port=0, max_sessions=sessions, offer=offer, announce=announce)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
