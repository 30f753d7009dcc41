"""What a page is told that it can ask of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .audio import Audio
from .server_protocol import ProtocolError

__all__ = ["Offer"]


@dataclass(frozen=True)
class Offer:
    """What a page is told that it can ask of the model.

    Parameters
    ----------
    title : str
        Name of what plays.
    controls : sequence of str
        Controls of the model (see `ControlLayout`); the page shows those that it knows.
    styles : sequence of str
        Tags of the control ``style``.
    contexts : mapping of str to Audio
        Music by name with which a stream can begin.
    hears_midi, hears_audio : bool
        Whether keyboards and microphones are offered.
    """

    title: str = "Live music"
    controls: tuple[str, ...] = ("chroma", "loudness")
    styles: tuple[str, ...] = ()
    contexts: Mapping[str, Audio] = field(default_factory=dict)
    hears_midi: bool = True
    hears_audio: bool = False

    def __post_init__(self) -> None:
        for name, audio in self.contexts.items():
            if not isinstance(audio, Audio):
                raise TypeError(f"contexts[{name!r}] must be Audio, got {type(audio).__name__}")

    def check_controls(self, controls: Mapping[str, Any]) -> None:
        """Refuse what pages may not ask for: controls that were not offered, and words that are no style.

        A stream takes more than that, the names of files among it, which is not for pages to say.

        Raises
        ------
        ProtocolError
        """
        for name, value in controls.items():
            if name not in self.controls:
                known = ", ".join(self.controls) or "none"
                raise ProtocolError(f"there is no control {name!r} here; there are: {known}")
            if isinstance(value, str) and (name != "style" or value not in self.styles):
                known = ", ".join(self.styles) or "none"
                raise ProtocolError(f"{name} cannot be {value!r}; the styles are: {known}")

    def described(self) -> dict[str, Any]:
        """Return what a page is told, as plain values."""
        return {
            "title": self.title, "controls": list(self.controls), "styles": list(self.styles),
            "contexts": list(self.contexts), "hears_midi": self.hears_midi, "hears_audio": self.hears_audio,
        }  # fmt: skip
