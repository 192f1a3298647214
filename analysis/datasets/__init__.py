"""Facts from disk as one frame: bundled, mLAMA, mParaRel, ParaRel, CSV, JSONL and Parquet."""

from analysis.datasets.dataset import COLUMNS, Dataset
from analysis.datasets.languages import choose_langs
from analysis.datasets.load import load
from analysis.datasets.sampling import rank_templates, sample
from analysis.datasets.usability import usability

__all__ = ["COLUMNS", "Dataset", "choose_langs", "load", "rank_templates", "sample", "usability"]
