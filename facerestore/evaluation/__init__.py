"""Measured quality: faces, methods, metrics with their protocols, intervals, tables, and comparisons."""
