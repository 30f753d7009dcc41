"""What importing the library brings in, and what it leaves for later."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    "pytorch_lightning",
    "lightning",
    "torchmetrics",
    "matplotlib",
    "rdkit",
    "selfies",
    "openmm",
    "lifelines",
    "sksurv",
    "SurvSet",
    "hazardous",
    "sktime",
    "soundfile",
    "sounddevice",
    "starlette",
    "uvicorn",
    "encodec",
    "torchaudio",
    "typer",
)


def loaded_after(statement: str) -> set[str]:
    """Return the top-level packages in memory after a statement ran in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    # -P keeps the current folder, which has a `datasets` folder, off the path.
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in ended.stdout.split()}


def test_importing_the_library_loads_nothing_heavy() -> None:
    loaded = loaded_after("import sciffusion; dir(sciffusion)")
    assert "sciffusion" in loaded
    assert loaded & {*HEAVY, "torch", "sklearn", "pandas"} == set()


@pytest.mark.parametrize(
    "statement",
    [
        "from sciffusion import SDPMSurvival; SDPMSurvival()",
        "import sciffusion.datasets",
        "import sciffusion.continuous, sciffusion.sampling, sciffusion.exact, sciffusion.testing",
        "import sciffusion.training, sciffusion.networks, sciffusion.estimators",
        "import sciffusion.cli",
    ],
)
def test_public_modules_load_nothing_heavy(statement: str) -> None:
    assert loaded_after(statement) & set(HEAVY) == set()


def test_every_public_name_loads() -> None:
    import sciffusion

    for name in sciffusion.__all__:
        assert getattr(sciffusion, name) is not None
    assert set(sciffusion.__all__) <= set(dir(sciffusion))


def test_an_unknown_name_is_an_attribute_error() -> None:
    import sciffusion

    with pytest.raises(AttributeError, match="has no attribute 'SDPMSurvivor'"):
        _ = sciffusion.SDPMSurvivor
