"""Cards of the sets of biological sequences."""

from __future__ import annotations

from dataclasses import dataclass

from .cards import Card, Column, Origin

__all__ = ["ANTIMICROBIAL_PEPTIDES", "LAC_PROMOTERS", "SequenceCard"]


@dataclass(frozen=True)
class SequenceCard(Card):
    """Description of a set of sequences as its loader returns it.

    Parameters
    ----------
    name, title : str
        Short name as in ``list_sequence_sets``, and one line in words.
    kind : {"load", "fetch"}
        In an installed dependency, or downloaded once.
    citation, licence : str
        Where the data come from; terms of the file and of the package that carries it.
    origin : Origin
        File the data are read from.
    size : int
        Length of that file in bytes.
    n_sequences, n_distinct : int
        Sequences, and different ones among them.
    lengths : (int, int)
        Letters of the shortest and of the longest.
    letters : str
        All letters that occur, sorted.
    target : Column
        What is known of each sequence.
    columns : tuple of Column
        The target and what else comes with a sequence.
    notes : tuple of str
        What a careful user should know besides.
    """

    name: str
    title: str
    kind: str
    citation: str
    licence: str
    origin: Origin
    size: int
    n_sequences: int
    n_distinct: int
    lengths: tuple[int, int]
    letters: str
    target: Column
    columns: tuple[Column, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def loader(self) -> str:
        """Name of the function that returns the set."""
        return f"{self.kind}_{self.name}"

    def facts(self) -> list[tuple[str, str]]:
        """Return (name, text) pairs of what is said in one line."""
        low, high = self.lengths
        return [
            ("loader", f"{self.loader}()"),
            ("sequences", f"{self.n_sequences}, of which {self.n_distinct} distinct"),
            ("lengths", f"{low} letters" if low == high else f"{low} to {high} letters"),
            ("letters", self.letters),
            ("target", str(self.target)),
            ("source", self.citation),
            ("file", str(self.origin)),
            ("licence", self.licence),
        ]

    def remarks(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return (name, texts) pairs of what is said in a list; empty lists are left out."""
        lists = [("columns", tuple(map(str, self.columns))), ("notes", self.notes)]
        return [(key, values) for key, values in lists if values]


LAC_PROMOTERS = SequenceCard(
    name="lac_promoters",
    title="Variants of the lac promoter of E. coli with their expression (Sort-Seq)",
    kind="fetch",
    citation="Kinney, Murugan, Callan, Cox, Using deep sequencing to characterize the biophysical mechanism "
    "of a transcriptional regulatory sequence, PNAS 107, 2010 (Sort-Seq)",
    licence="published research data; mavenn, which carries the file, is under MIT",
    origin=Origin(
        "mavenn", "1.1.4", "mavenn/examples/datasets/sortseq_data.csv.gz",
        "874d92522535f24517e1c389f21c9e067ab30f43ec34cf951d3efee498324d40",
    ),
    size=661609,
    n_sequences=50518,
    n_distinct=50518,
    lengths=(75, 75),
    letters="ACGT",
    target=Column("bin", "mean bin of the cell sorter in which it was counted, 0 (dark) to 9 (bright)"),
    columns=(Column("split", "training, validation or test, as in the file"),),
    notes=(
        "All sequences are one promoter with substitutions at random places, about one site in eight: sites "
        "differ in their letters, and neighbours hardly depend on each other but through expression.",
        "97% of the variants were counted in one cell only, so that a bin is a noisy measurement.",
    ),
)  # fmt: skip

ANTIMICROBIAL_PEPTIDES = SequenceCard(
    name="antimicrobial_peptides",
    title="Antimicrobial peptides, and as many short proteins",
    kind="fetch",
    citation="Mueller, Gabernet, Hiss, Schneider, modlAMP: Python for antimicrobial peptides, Bioinformatics "
    "33, 2017, from the Antimicrobial Peptide Database APD3 (January 2016) and UniProt",
    licence="sequences of public data bases; modlamp, which carries the file, is under BSD-3-Clause",
    origin=Origin(
        "modlamp", "4.3.3", "modlamp/data/AMPvsUniProt.csv",
        "e1db3dd659179118dcfca63723385f2f0c95c49d27060a90f7a9d5848250eb48",
    ),
    size=191952,
    n_sequences=5200,
    n_distinct=4642,
    lengths=(7, 174),
    letters="ACDEFGHIKLMNPQRSTVWY",
    target=Column("kind", "'AMP' for an antimicrobial peptide, 'UniProt' for a random protein of UniProt"),
    notes=(
        "2600 sequences of each kind. Those of UniProt were drawn with lengths from 10 to 50, so that length "
        "tells something of the kind.",
        "Among those of UniProt 498 repeat another; 22 sequences are in both kinds.",
    ),
)  # fmt: skip
