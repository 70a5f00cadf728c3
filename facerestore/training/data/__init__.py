"""Faces for training: files, datasets, shards, augmentation and maps."""
