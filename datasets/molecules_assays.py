"""Cards and files of thirty assays of ChEMBL, chosen and split by MoleculeACE to show activity cliffs."""

from __future__ import annotations

from typing import NamedTuple

from .cards import Column, Origin
from .molecules_card import MoleculeCard
from .wheels import WheelFile

__all__ = ["ASSAYS", "Assay", "assay_card", "assay_file"]


class Assay(NamedTuple):
    """One assay: its name in ChEMBL and what was measured, its protein, and its size.

    ``n_test`` rows are meant for testing, ``n_cliffs`` take part in an activity cliff.
    """

    name: str
    protein: str
    n_rows: int
    n_test: int
    n_cliffs: int
    size: int
    sha256: str


ASSAYS = (
    Assay(
        "CHEMBL1862_Ki",
        "ABL1 kinase",
        794,
        161,
        330,
        62007,
        "72a750426976bf5c17ca9129e86dff20962332f92a8ce16028d9fbcf152ca412",
    ),
    Assay(
        "CHEMBL1871_Ki",
        "androgen receptor",
        659,
        134,
        162,
        69167,
        "62d05aa76d096fd5bd3575dcfd30dcab24873dc010de47b478b6617fbd95985e",
    ),
    Assay(
        "CHEMBL2034_Ki",
        "glucocorticoid receptor",
        750,
        152,
        251,
        72685,
        "476668f39aae0e29a1ab8fa83a7087b179dc705b68cdc060c9958a0eed2048d4",
    ),
    Assay(
        "CHEMBL2047_EC50",
        "farnesoid X receptor",
        631,
        128,
        245,
        64375,
        "ea1bacf43377aac288840f2d2e37df7705a0d2d1f93bb52b0ce85e499e311f6e",
    ),
    Assay(
        "CHEMBL204_Ki",
        "thrombin",
        2754,
        553,
        1094,
        272953,
        "6ccf17a5f1aa6322f2d68f24b923f2efb5779ff73d33035bb889bb922b18dba5",
    ),
    Assay(
        "CHEMBL2147_Ki",
        "PIM1 kinase",
        1456,
        294,
        572,
        120973,
        "5cbf4deba3e6312aff3a77ac3c70eb39a3cd58c9d8686a19a8b56c4a73377d02",
    ),
    Assay(
        "CHEMBL214_Ki",
        "serotonin 5-HT1A receptor",
        3317,
        666,
        1222,
        272827,
        "68bffa3069340c51204ba23395626622559a10c3d39b1111cb9c47f9d9960962",
    ),
    Assay(
        "CHEMBL218_EC50",
        "cannabinoid CB1 receptor",
        1031,
        208,
        369,
        94629,
        "9133aefc69efa92403107f78f747d4acbd370255ac0a2949cc5f86a30b5ebd11",
    ),
    Assay(
        "CHEMBL219_Ki",
        "dopamine D4 receptor",
        1865,
        374,
        740,
        146273,
        "f0d13b1bd8086e3fed746215b0ff8c4399518547bbba2146a0f235f1a9a59fa8",
    ),
    Assay(
        "CHEMBL228_Ki",
        "serotonin transporter",
        1704,
        342,
        638,
        134601,
        "17158facfdc5788e22e020e398acd3bbf99edc9d66f7b323da778cd551d9796f",
    ),
    Assay(
        "CHEMBL231_Ki",
        "histamine H1 receptor",
        973,
        197,
        237,
        80139,
        "9e1c0a22c37e446d37d63e7b39d92cb022774333b4fa430e9f948b748215afb0",
    ),
    Assay(
        "CHEMBL233_Ki",
        "mu opioid receptor",
        3142,
        630,
        1294,
        324641,
        "4d8aff053b3d1c12e8cc13102958bb4f3dce4ac7715452265231e5b68d1c9362",
    ),
    Assay(
        "CHEMBL234_Ki",
        "dopamine D3 receptor",
        3657,
        733,
        1604,
        306725,
        "7a86fc3552953bb1ea727f4119b844ff3eadb33d7a79413b1f417cf236f5615a",
    ),
    Assay(
        "CHEMBL235_EC50",
        "PPAR gamma",
        2349,
        472,
        885,
        211908,
        "a99b1d18870cc4d83da5fbedfee4504f8c46bb96e71ea7964b84ae7682d4963f",
    ),
    Assay(
        "CHEMBL236_Ki",
        "delta opioid receptor",
        2598,
        521,
        1017,
        285971,
        "28227a570694a24325a3206bee2a1623e14949d54abe13e490402fb2f5a8c74e",
    ),
    Assay(
        "CHEMBL237_EC50",
        "kappa opioid receptor",
        955,
        193,
        456,
        104918,
        "37dce21b9ef158ac7d3075997e58896bb0083162c9c820d1996d898dfb0701f5",
    ),
    Assay(
        "CHEMBL237_Ki",
        "kappa opioid receptor",
        2603,
        522,
        1110,
        273953,
        "8bc5f0f4e512923d7878390f9c6336682dfd638e90d8110f44bfd3af77d605c3",
    ),
    Assay(
        "CHEMBL238_Ki",
        "dopamine transporter",
        1052,
        213,
        266,
        81987,
        "5ca1bb99ea9123dc0369f19c1269fec3f9fc3eae3bf9a2b781419b268913761a",
    ),
    Assay(
        "CHEMBL239_EC50",
        "PPAR alpha",
        1721,
        347,
        699,
        151477,
        "1985b2137bd64396ec980e8c6e1f234f6f9aa989c49a20aef71dd22bda68ed9c",
    ),
    Assay(
        "CHEMBL244_Ki",
        "coagulation factor Xa",
        3097,
        621,
        1478,
        304704,
        "aafc2e81810767397c8b5b3161b9eed3b33b6e9a827ed176336f388bef274a36",
    ),
    Assay(
        "CHEMBL262_Ki",
        "glycogen synthase kinase-3 beta",
        856,
        173,
        160,
        66475,
        "c438e8e18bc444890246607be107d9afb8c64012608a8a73838acad3eacfce21",
    ),
    Assay(
        "CHEMBL264_Ki",
        "histamine H3 receptor",
        2862,
        574,
        1191,
        223220,
        "6b380b5cf61b6985179779a9b9d0d1d3b197773fc3df5079d8932108f75e2bbf",
    ),
    Assay(
        "CHEMBL2835_Ki",
        "JAK1 kinase",
        615,
        126,
        60,
        60214,
        "a6ff0b8c3df2c452a9210af5c3d57495846ed16978c339b463c7a4b90c73c66c",
    ),
    Assay(
        "CHEMBL287_Ki",
        "sigma opioid receptor",
        1328,
        267,
        507,
        97746,
        "7f448c29138242dd64ec2a07742e33a1e186129ca4e794e287b67e5ffaea171e",
    ),
    Assay(
        "CHEMBL2971_Ki",
        "JAK2 kinase",
        976,
        197,
        162,
        88383,
        "2fe0c20bab93c58f824fdb7f35b1c327e987b76e8403ededb0075cb7649651d3",
    ),
    Assay(
        "CHEMBL3979_EC50",
        "PPAR delta",
        1125,
        226,
        468,
        101814,
        "7e455ec476c0683414404b527d0bb98bf76671f7bd3748507aad505c21a6b44b",
    ),
    Assay(
        "CHEMBL4005_Ki",
        "PI3-kinase alpha",
        960,
        193,
        401,
        84641,
        "183b163b6820d2c0db3190500e3a58cdda1f72d148f36605d7c2e2071d69c03e",
    ),
    Assay(
        "CHEMBL4203_Ki",
        "CLK4 kinase",
        731,
        149,
        64,
        55311,
        "28d7139fdba99657584430ef793bf2850aaf806651930fc062d50f3f847f032d",
    ),
    Assay(
        "CHEMBL4616_EC50",
        "ghrelin receptor",
        682,
        139,
        355,
        73580,
        "7b79538464cf4a811a9bd593d867d985b3f19d65302f241a7fba409b16230b0a",
    ),
    Assay(
        "CHEMBL4792_Ki",
        "orexin receptor 2",
        1471,
        297,
        794,
        129521,
        "088219b5b08fa90962f00e80d7ed66fe7a71e223b18b874fb000d0babc343659",
    ),
)


def assay_file(assay: Assay) -> WheelFile:
    """Return where the rows of an assay lie."""
    member = f"MoleculeACE/Data/benchmark_data/{assay.name}.csv"
    return WheelFile("MoleculeACE", "3.0.0", member, assay.size, assay.sha256)


def assay_card(assay: Assay) -> MoleculeCard:
    """Return the card of an assay."""
    file = assay_file(assay)
    measured = "inhibition constant Ki" if assay.name.endswith("Ki") else "half-maximal concentration EC50"
    return MoleculeCard(
        name=f"assay_{assay.name}",
        title=f"Activity on the {assay.protein}",
        loader="fetch_assay",
        argument=("name", assay.name),
        citation="van Tilborg, Alenicheva, Grisoni, Exposing the limitations of molecular machine learning "
        "with activity cliffs, J. Chem. Inf. Model. 2022; rows of ChEMBL 29",
        licence="CC BY-SA 3.0 (ChEMBL); the MoleculeACE package, which carries the file, is under MIT (not "
        "imported)",
        origin=Origin(file.package, file.version, file.member, file.sha256),
        n_rows=assay.n_rows,
        n_distinct=assay.n_rows,
        n_invalid=0,
        columns=(
            Column("smiles", "the molecule as SMILES"),
            Column("activity", f"minus the logarithm (base 10) of the {measured} in nM: higher binds better"),
            Column("cliff", "True where a similar molecule differs more than tenfold in activity"),
            Column("test", f"True for the {assay.n_test} rows meant for testing"),
        ),
        targets=("activity",),
        notes=(f"{assay.n_cliffs} rows take part in an activity cliff.",),
    )
