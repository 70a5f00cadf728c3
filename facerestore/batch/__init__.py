"""Many photos: plan, resume, one outcome per file."""
