"""Downloadable and bundled weights: catalog, store, licences."""
