"""Generation backends behind the seam `hired_core.language.Backend`."""
