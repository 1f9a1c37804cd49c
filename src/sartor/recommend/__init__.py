"""What this person will want next."""
