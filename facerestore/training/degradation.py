"""Temporary address of :mod:`facerestore.degradation`."""

from facerestore.degradation import *  # noqa: F403
