"""Crops and values: where a face is cut out, how values and sizes change, how it goes back into its photo."""
