"""Small pictures with exact meanings: what is asked, what is shown and what is read are all known.

world = ShapesWorld(seed=0)
world.batch(rng, 16)                pictures and captions, as a prior learns them
world.subjects(6)                   individuals that no training picture has
world.references(subject).render()  what a person hands over
read(pictures)                      what pictures show, drawn ones too
tastes.PictureTastes(...)           which pictures the people of a world prefer
"""

from sartor.data.world.shapes.prompts import Prompts, concept_prompts
from sartor.data.world.shapes.reader import Reading, read
from sartor.data.world.shapes.scenes import GROUNDS, SIZE, Scenes
from sartor.data.world.shapes.sprites import Subject
from sartor.data.world.shapes.words import BACKGROUNDS, COLOURS, FAMILIES, FIXED, NOUNS, RELATIONS, SLOTS, TEXTURES, VOCABULARY, Asked, parse
from sartor.data.world.shapes.world import ShapesWorld

__all__ = [
    "BACKGROUNDS", "COLOURS", "FAMILIES", "FIXED", "GROUNDS", "NOUNS", "RELATIONS", "SIZE", "SLOTS", "TEXTURES", "VOCABULARY",
    "Asked", "Prompts", "Reading", "Scenes", "ShapesWorld", "Subject", "concept_prompts", "parse", "read",
]  # fmt: skip
