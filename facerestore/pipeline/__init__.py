"""The line that restores one photo, and what is decided on the way."""
