"""From words, pictures and graphs to vectors and groups."""
