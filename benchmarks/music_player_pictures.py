"""Pictures of the player that plays: `python benchmarks/music_player_pictures.py [--model FILE]`.

Serves a model (the published one by default) to headless Chromium, asks for a chord on the way, and writes
``music_player.png`` and ``music_player_phone.png``, as the page looks on a desk and on a telephone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from music_soak_pages import Listener, chromium_path, running_chromium, soak_server

__all__ = ["main"]

SHAPES = {"music_player.png": (1280, 1240, 1.0), "music_player_phone.png": (400, 860, 2.0)}
CHORD = ("A", "C", "E")


def _picture(browser: object, url: str, path: Path, seconds: float) -> None:
    width, height, scale = SHAPES[path.name]
    listener = Listener(browser, url, "picture", width, height, scale)
    listener.wait_for("playing")
    page = listener.page
    page.wait_for_timeout(500 * seconds)
    for note in CHORD:
        page.click(f'.note[aria-label="{note}"]')
    page.wait_for_timeout(500 * seconds)
    page.evaluate("document.activeElement.blur()")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(path))
    listener.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description="Pictures of the player that plays.")
    parser.add_argument("--model", type=Path, help="model file; the published one by default")
    parser.add_argument("--title", default="Live music", help="what the page says it plays")
    parser.add_argument("--seconds", type=float, default=30.0, help="played before a picture")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args(arguments)
    if chromium_path() is None:
        print("there is no Chromium on this machine: install it (Debian: apt install chromium)")
        return 2
    model = options.model
    if model is None:
        from sciffusion.domains.music.pretrained import list_pretrained, pretrained_file

        published = list_pretrained()
        if not published:
            print("this version comes without trained weights for music: give --model FILE")
            return 2
        model = Path(pretrained_file(published[0]))
    with soak_server(model, 2, options.title) as (url, _), running_chromium() as browser:
        for name in SHAPES:
            _picture(browser, url, options.out / name, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
