"""Metrics, one family per file: ranking, rating, clicks, beyond accuracy, fairness, business, similarity."""
