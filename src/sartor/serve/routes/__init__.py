"""One file per subject; every module has a `router`, and is found by being here."""
