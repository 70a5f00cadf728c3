"""The recipe that trains mmrb, and what only it needs."""
