"""The recipe that trains gpen, and what only it needs."""
