"""Finding: the few of many vectors, texts or nodes that fit a query, for one person."""
