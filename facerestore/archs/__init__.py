"""Networks: tensors in, tensors out.

Where a network or an operation has a quicker form for inference, three forms of one name stand together. ``gpen`` is
the network as it is trained, in the plain maths of its paper; ``gpen_fused``, or ``fuse_psfr`` in ``psfr``, computes
the same sums in fewer passes; what ends in ``_ref`` or ``Ref`` is the slow form of a single operation, and
`facerestore.archs.reference` puts a whole network together from these. Tests hold all three to each other.
"""
