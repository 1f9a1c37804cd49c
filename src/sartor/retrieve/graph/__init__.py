"""Graphs: a store of edges, random walks, and what is close to given nodes (personalised PageRank), exactly or from an index."""
