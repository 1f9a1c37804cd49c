"""What federated methods are made of: partitions, the round loop, client-batched training, checks, privacy, reports."""
