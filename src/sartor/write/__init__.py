"""Words this person would like, or would write: memory, retrieval, soft prompts, adapters, steering."""
