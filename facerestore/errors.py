"""The errors of facerestore: one tree, so that one ``except FaceRestoreError`` catches all of them.

Every message says what happened, the value that caused it, and the remedy.
"""


class FaceRestoreError(Exception):
    """Base of all errors that facerestore raises on purpose."""


class ConfigError(FaceRestoreError):
    """An option, a configuration file or an argument has a value that cannot be used."""


class ImageError(FaceRestoreError):
    """A picture cannot be decoded, is too large, or cannot be written."""


class WeightsError(FaceRestoreError):
    """Weights are unknown, not installed, corrupt, or cannot be downloaded."""


class CheckpointError(WeightsError):
    """A weights file is unsafe, truncated, foreign, or does not fit the network."""


class BackendError(FaceRestoreError):
    """A network failed, or gave a result that cannot be an image."""
