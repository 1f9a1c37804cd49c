"""Building blocks of decisions: how people respond, and fronts of two objectives."""
