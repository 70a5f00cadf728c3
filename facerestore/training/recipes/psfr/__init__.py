"""The recipe that trains psfr, and what only it needs."""
