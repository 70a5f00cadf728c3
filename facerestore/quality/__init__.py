"""How good an aligned face is: its sharpness, its real resolution, and what was printed or drawn over it."""
