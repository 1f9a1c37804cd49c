"""Reading, checking and splitting populations; generated worlds."""

from sartor.data.ids import IdMap
from sartor.data.interactions import Interactions
from sartor.data.population import Evidence, Population, guarded
from sartor.data.schema import SCHEMAS

__all__ = ["SCHEMAS", "Evidence", "IdMap", "Interactions", "Population", "guarded"]
