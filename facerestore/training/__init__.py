"""Training of every network that facerestore ships or loads."""
