"""What several recognizers share: encoders and how they are trained, graphs of features, sets of training pictures."""
