r"""Alanine dipeptide, ACE-ALA-NME: its 22 atoms, its bonds and its force field.

The force field is Amber99SB-ILDN with the implicit solvent of Onufriev, Bashford and Case (OBC II) and its
term for the surface, without any cutoff and without constraints, both read from the files that OpenMM ships:
``amber99sbildn.xml`` and ``amber99_obc.xml``. The torsions are

.. math::

    \phi = (\mathrm{C_{ACE}, N, C_\alpha, C}), \qquad \psi = (\mathrm{N, C_\alpha, C, N_{NME}}).

Bonds are flexible on purpose: a constraint would leave no density in Cartesian coordinates, and what cannot
have a density can neither be annealed nor be reweighted.

Start coordinates are a minimum of this energy, found from ideal bond lengths and angles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ATOM_NAMES",
    "ATOM_TYPES",
    "BONDS",
    "CHIRAL_CENTRE",
    "FORCE_FIELD_FILES",
    "PHI",
    "PSI",
    "START",
    "alanine_dipeptide_system",
    "import_openmm",
    "raised_masses",
]

FORCE_FIELD_FILES = ("amber99sbildn.xml", "amber99_obc.xml")

_RESIDUES = (
    ("ACE", ("HH31", "CH3", "HH32", "HH33", "C", "O")),
    ("ALA", ("N", "H", "CA", "HA", "CB", "HB1", "HB2", "HB3", "C", "O")),
    ("NME", ("N", "H", "CH3", "HH31", "HH32", "HH33")),
)
ATOM_NAMES = tuple(f"{residue}-{atom}" for residue, atoms in _RESIDUES for atom in atoms)
_PAIRS = (
    "ACE-HH31 ACE-CH3, ACE-CH3 ACE-HH32, ACE-CH3 ACE-HH33, ACE-CH3 ACE-C, ACE-C ACE-O, ACE-C ALA-N, "
    "ALA-N ALA-H, ALA-N ALA-CA, ALA-CA ALA-HA, ALA-CA ALA-CB, ALA-CA ALA-C, ALA-CB ALA-HB1, ALA-CB ALA-HB2, "
    "ALA-CB ALA-HB3, ALA-C ALA-O, ALA-C NME-N, NME-N NME-H, NME-N NME-CH3, NME-CH3 NME-HH31, "
    "NME-CH3 NME-HH32, NME-CH3 NME-HH33"
)


def _places(words: str) -> tuple[int, ...]:
    return tuple(ATOM_NAMES.index(word) for word in words.split())


#: The 21 bonds as pairs of places.
BONDS: NDArray[np.int64] = np.array([_places(pair) for pair in _PAIRS.split(",")], dtype=np.int64)
PHI = _places("ACE-C ALA-N ALA-CA ALA-C")
PSI = _places("ALA-N ALA-CA ALA-C NME-N")
#: Alpha carbon, then N, C and beta carbon: the triple product of the three bonds is positive in L-alanine.
CHIRAL_CENTRE = _places("ALA-CA ALA-N ALA-C ALA-CB")
_ELEMENTS = "".join(name.split("-")[1][0] for name in ATOM_NAMES)


def _types() -> NDArray[np.int64]:
    """Give atoms one type exactly if they are interchangeable: hydrogens that are bound to one atom."""
    parents = {}
    for pair in BONDS:
        for hydrogen, parent in (pair, pair[::-1]):
            if _ELEMENTS[hydrogen] == "H":
                parents[int(hydrogen)] = int(parent)
    keys = [("H", parents[place]) if place in parents else ("", place) for place in range(len(ATOM_NAMES))]
    return np.array([list(dict.fromkeys(keys)).index(key) for key in keys], dtype=np.int64)


#: Type of each atom: heavy atoms have their own, hydrogens that are bound to one atom share one.
ATOM_TYPES: NDArray[np.int64] = _types()


#: A minimum of the energy (phi -74, psi 155 degrees), made by minimising ideal bond lengths and angles; nm.
START: NDArray[np.float64] = np.array(
    [
        (-0.3797, 0.1924, 0.0588), (-0.3388, 0.0918, 0.0675), (-0.3752, 0.0304, -0.0147),
        (-0.3698, 0.0480, 0.1622), (-0.1877, 0.0978, 0.0622), (-0.1305, 0.2061, 0.0495),
        (-0.1234, -0.0186, 0.0723), (-0.1786, -0.1027, 0.0813), (0.0224, -0.0326, 0.0662),
        (0.0666, 0.0454, 0.1286), (0.0614, -0.1680, 0.1270), (0.0196, -0.2492, 0.0673),
        (0.1700, -0.1777, 0.1291), (0.0235, -0.1751, 0.2291), (0.0790, -0.0153, -0.0768),
        (0.0105, -0.0410, -0.1767), (0.2064, 0.0255, -0.0863), (0.2568, 0.0435, -0.0004),
        (0.2781, 0.0459, -0.2123), (0.2270, 0.1212, -0.2727), (0.3800, 0.0797, -0.1926),
        (0.2823, -0.0476, -0.2686),
    ]
)  # fmt: skip


def import_openmm() -> Any:
    """Return the module ``openmm``, or say which extra it belongs to.

    Raises
    ------
    ImportError
        If OpenMM is not installed.
    """
    try:
        import openmm
        import openmm.app
    except ImportError as error:
        raise ImportError(
            "alanine dipeptide needs openmm: run pip install 'sciffusion[boltzmann]'"
        ) from error
    return openmm


def alanine_dipeptide_system() -> Any:
    """Return the ``openmm.System``: flexible bonds, no cutoff, implicit solvent.

    Raises
    ------
    ImportError
        If OpenMM is not installed.
    """
    app = import_openmm().app
    field = app.ForceField(*FORCE_FIELD_FILES)
    return field.createSystem(
        _topology(app), nonbondedMethod=app.NoCutoff, constraints=None, rigidWater=False, removeCMMotion=False
    )


def _topology(app: Any) -> Any:
    topology = app.Topology()
    chain = topology.addChain()
    atoms = []
    for residue, names in _RESIDUES:
        place = topology.addResidue(residue, chain)
        atoms += [topology.addAtom(name, app.Element.getBySymbol(name[0]), place) for name in names]
    for first, second in BONDS:
        topology.addBond(atoms[first], atoms[second])
    return topology


def raised_masses(masses: NDArray[np.float64], hydrogen_mass: float) -> NDArray[np.float64]:
    """Return the masses (dalton) with that of every hydrogen replaced.

    Masses do not enter the law of the configurations; heavier hydrogens vibrate more slowly, and the step can
    be longer at the same accuracy.
    """
    hydrogens = np.array([element == "H" for element in _ELEMENTS])
    return np.where(hydrogens, hydrogen_mass, masses)
