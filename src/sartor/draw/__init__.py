"""Pictures of this person's things, in this person's taste."""
