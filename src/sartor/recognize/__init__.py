"""Telling whose, or which one, something is: enrol a few pictures, then identify, verify, or say that nobody knows."""
