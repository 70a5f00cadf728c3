"""The recipe that trains landmarks, and what only it needs."""
