"""Learning what is shared and what is personal where data may not be pooled."""
