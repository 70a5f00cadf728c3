"""The other lines over one photo: colorize, inpaint, synthesize."""
