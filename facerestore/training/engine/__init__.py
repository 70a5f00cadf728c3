"""The training loop, its steps, its folder and what it saves."""
