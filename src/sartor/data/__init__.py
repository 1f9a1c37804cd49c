"""Reading, checking and splitting populations; generated worlds."""

from sartor.data import datasets, splits
from sartor.data.datasets import dataset
from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.data.loaders import read
from sartor.data.population import Evidence, Population, guarded
from sartor.data.schema import SCHEMAS
from sartor.data.splits import Split

__all__ = ["SCHEMAS", "Evidence", "IdMap", "Interactions", "Population", "Split", "dataset", "datasets", "guarded", "read", "splits"]
