"""Homes as symbols: things and places, propositions, episodes with goals, and generated homes whose truth is known."""

from sartor.data.world.household.episodes import Episode
from sartor.data.world.household.homes import Homes
from sartor.data.world.household.scene import Action, After, Goal, Home, Proposition, Thing, Where

__all__ = ["Action", "After", "Episode", "Goal", "Home", "Homes", "Proposition", "Thing", "Where"]
