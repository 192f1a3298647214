"""The figures printed in the paper, to stand beside ours, and what arithmetic says about its third table."""

from __future__ import annotations

from dataclasses import dataclass

# Figures 3-5 in words: they are drawn without numbers.
FIGURES = (
    "N: the last layers of m-BERT; early, middle and last ones of m-GPT. LIKN: the last one or two layers. "
    "Degenerate neurons: where N is"
)
# Success rates of eq. 11. Table 1: the zero-baseline method (B-KN) and the paper's own, each on its own language.
TABLE_1: dict[tuple[str, str], dict[str, float]] = {
    ("en", "m-BERT"): {"B-KN": 3.944, "AMIG": 4.035},
    ("en", "m-GPT"): {"B-KN": 5.207, "AMIG": 5.603},
    ("zh", "m-BERT"): {"B-KN": 5.579, "AMIG": 10.285},
    ("zh", "m-GPT"): {"B-KN": 5.439, "AMIG": 7.859},
}
# Table 2: what is edited, read in the language of the row.
TABLE_2: dict[tuple[str, str], dict[str, float]] = {
    ("en", "m-BERT"): {"LIKN": 2.359, "Mono-KN": 2.139, "Seq-KN": 3.800},
    ("en", "m-GPT"): {"LIKN": 2.542, "Mono-KN": 2.400, "Seq-KN": 4.285},
    ("zh", "m-BERT"): {"LIKN": 7.175, "Mono-KN": 2.292, "Seq-KN": 4.092},
    ("zh", "m-GPT"): {"LIKN": 8.868, "Mono-KN": 2.350, "Seq-KN": 3.654},
}


@dataclass(frozen=True)
class Checked:
    """One row of table 3 as printed: `with_dkn` says who judges (the model's own answer, or degenerate neurons)."""

    lang: str
    model: str
    with_dkn: bool
    precision: float
    recall: float
    f1: float

    @property
    def lowest_precision(self) -> float:
        """What precision cannot fall below when right and wrong claims are equally many: all wrong ones accepted."""
        return self.recall / (1 + self.recall)

    @property
    def possible(self) -> bool:
        """Whether the row can be, the last printed digit aside."""
        return self.precision >= self.lowest_precision - 0.001

    @property
    def swapped(self) -> Checked:
        """The row with its two columns exchanged, which is what the released code computes."""
        return Checked(self.lang, self.model, self.with_dkn, self.recall, self.precision, self.f1)

    @property
    def accuracy(self) -> float:
        """Share judged rightly that follows from precision and recall at equally many claims of both kinds."""
        accepted_wrong = self.recall * (1 - self.precision) / self.precision
        return (self.recall + 1 - accepted_wrong) / 2


TABLE_3: tuple[Checked, ...] = (
    Checked("en", "m-BERT", False, 0.222, 0.986, 0.362),
    Checked("en", "m-BERT", True, 0.493, 0.599, 0.541),
    Checked("en", "m-GPT", False, 0.010, 1.0, 0.021),
    Checked("en", "m-GPT", True, 0.311, 0.709, 0.433),
    Checked("zh", "m-BERT", False, 0.010, 1.0, 0.020),
    Checked("zh", "m-BERT", True, 0.870, 0.524, 0.654),
    Checked("zh", "m-GPT", False, 0.0002, 1.0, 0.0004),
    Checked("zh", "m-GPT", True, 0.966, 0.511, 0.669),
    Checked("en", "BERT", False, 0.301, 0.983, 0.460),
    Checked("en", "BERT", True, 0.504, 0.571, 0.535),
    Checked("en", "GPT-2", False, 0.010, 1.0, 0.021),
    Checked("en", "GPT-2", True, 0.315, 0.608, 0.415),
)
