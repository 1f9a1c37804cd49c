"""Choosing an action for one person under a shared budget, and saying what the population's answer would have been and what it cost."""
