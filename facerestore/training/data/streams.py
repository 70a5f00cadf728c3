"""Numbers that keep apart what is drawn by chance for one training sample: the last of its generator's key.

A key is (seed, epoch, index, stream). All streams stand here, so that a new one gets a number that no other has. The
numbers stay as they are, since networks that ship were trained with them. 0 is taken too: a sample's choice and
variation have a key without a stream, and zeros at the end of a key do not count.
"""

from __future__ import annotations

DEGRADATION, CROP, DAMAGE, SIZE = 1, 2, 3, 4
"""How a sample is degraded, where it is cut out, what is damaged, and whether it stays as small as it was made."""

EYES = 4
"""Which eyes are shut, and how. It is the number of `SIZE`, which is drawn for samples that are cut out alone, and eyes
are shut in whole faces."""

PRESET = 2
"""Which preset degrades a face of ``facerestore data degrade``. It is the number of `CROP`, but a key without an epoch,
and nothing is cut there."""
