"""Synthetic patients: facts first, everything else rendered from the same facts."""
