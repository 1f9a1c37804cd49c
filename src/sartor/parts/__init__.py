"""The building blocks that several methods share; none of them knows about people or files."""
