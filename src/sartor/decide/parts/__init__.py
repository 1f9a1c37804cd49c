"""Building blocks of decisions: how people respond, fronts of two objectives, simulators, twins and controllers, the log."""
