"""For authors of backends: the contract, drawn faces to try it on, and a check of the installation."""
