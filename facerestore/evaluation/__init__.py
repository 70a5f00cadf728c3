"""Measured quality: metrics and protocols."""
