"""Generated people with known tastes, where real data cannot tell the truth.

    world = World(people=1000, items=2000, seed=0)
    world.population()                  what can be seen: events, items, people, texts, preferences
    world.truth                         what is true: tastes, topics of items, why every event happened
    world.affinity(people, items)       exactly how much of a person's taste an item serves
    world.chance(people, items)         exactly how likely she takes it next

Other rooms make more of the same people (pictures, dialogue) out of `world.people_tastes(numbers)` and `world.draws`.
"""

from sartor.data.world.draws import Draws, address
from sartor.data.world.low_rank import LowRank, low_rank
from sartor.data.world.taste import Tastes, Topics
from sartor.data.world.world import PRESETS, Part, World

__all__ = ["PRESETS", "Draws", "LowRank", "Part", "Tastes", "Topics", "World", "address", "low_rank"]
