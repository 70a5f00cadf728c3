"""The recipe that trains finder, and what only it needs."""
