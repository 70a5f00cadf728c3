"""Writes the graph of dlib's recognition network, without its parameters: those stay in the file they are published in.

python -m facerestore.export.identity  # writes facerestore/quality/dlib_resnet.onnx anew
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from facerestore.archs.dlib_resnet import INPUT_SIZE, DlibResNet
from facerestore.export.embedding import taken_out
from facerestore.export.graph import record_program
from facerestore.export.writers import check_packages, onnx_model
from facerestore.files import written_whole
from facerestore.quality import identity

SEED = 0


def identity_graph() -> bytes:
    """Return an ONNX model from ``chips``, B 150 150 3 uint8, to ``numbers``, B 128; it names its parameters only.

    Raises:
        BackendError: a package is missing.
    """
    check_packages("onnx")
    torch.manual_seed(SEED)
    network = DlibResNet().eval()
    network.affine = nn.ModuleList(
        nn.Identity() for _ in network.affine
    )  # `identity.folded` into the convolutions
    with torch.no_grad():
        for value in network.parameters():  # no two alike, so that each is known by its values
            value.copy_(torch.rand_like(value))
    tensors = {name: value.numpy() for name, value in network.state_dict().items()}
    chips = torch.zeros(2, INPUT_SIZE, INPUT_SIZE, 3, dtype=torch.uint8)
    program, _ = record_program(network, (chips,))
    model = onnx_model(program, ["chips"], ["numbers"])
    taken_out(model, tensors)
    return bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    with written_whole(Path(identity.__file__).parent / identity.GRAPH_FILE) as stream:
        stream.write(identity_graph())
