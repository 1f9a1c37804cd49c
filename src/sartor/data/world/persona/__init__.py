"""The persona storey of the world: the people who click also write, talk and choose between answers, out of the same tastes.

personas = World(people=1000, items=2000, seed=0).personas()
personas.population(personas.fit_people)        texts, preferences, people: what a model may see
asked = personas.requests(personas.new_people, 8)
personas.grade(texts, asked)                    exactly which of her habits each text shows, and whether its answer is right
"""

from sartor.data.world.persona.likes import Likes
from sartor.data.world.persona.personas import Personas
from sartor.data.world.persona.requests import Requests
from sartor.data.world.persona.traits import Traits

__all__ = ["Likes", "Personas", "Requests", "Traits"]
