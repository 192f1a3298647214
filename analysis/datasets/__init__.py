"""Facts from disk as one frame: bundled, published datasets in their own layouts, and tables of one's own."""

from knscope.analysis.datasets.dataset import COLUMNS, Dataset
from knscope.analysis.datasets.languages import choose_langs
from knscope.analysis.datasets.load import load
from knscope.analysis.datasets.sampling import sample
from knscope.analysis.datasets.usability import spaced_slots, usability

__all__ = ["COLUMNS", "Dataset", "choose_langs", "load", "sample", "spaced_slots", "usability"]
