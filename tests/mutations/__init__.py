"""Each protection, taken out of the real code, is missed by a named test."""
