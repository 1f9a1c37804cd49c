"""Building blocks of the writers: tokenizer, causal language model, decoding, logits hooks, soft prefixes."""
