"""The recipe that trains lite, and what only it needs."""
