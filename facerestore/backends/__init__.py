"""Restoration backends behind one protocol."""
