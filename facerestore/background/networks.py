"""Networks for whole photos from weights files: ours, which cleans; RRDBNet; and through spandrel whatever it knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facerestore.backends import identify
from facerestore.backends.foreign import INSTALL
from facerestore.background.cleaner import is_cleaner, load_cleaner
from facerestore.background.ncnn import SUFFIX, read_ncnn
from facerestore.background.tiles import OVERLAP_PX, Network, TiledUpsampler, round_up
from facerestore.engines import Place
from facerestore.engines.torch_module import TorchEngine
from facerestore.errors import BackendError, CheckpointError, ConfigError, required_package
from facerestore.weights.checkpoint import load_state_dict, load_strictly, open_weights

if TYPE_CHECKING:
    import torch

    from facerestore.weights.weights_file import WeightsFile, WeightsSource

RRDB_KEYS = frozenset(
    {"conv_first.weight", "body.0.rdb1.conv1.weight", "conv_up2.weight", "conv_hr.weight", "conv_last.weight"}
)
"""Keys that every RRDBNet whose body enlarges four times has."""

RRDB_SCALES = {3: 4, 12: 2, 48: 1}
"""Factor of the whole by the channels that its first convolution takes, the photo being folded first below 4."""

RRDB_OVERLAP_PX = 16
"""How far RRDBNet sees, pixels of the folded photo: beyond, nothing is left but float noise (measured, see `tiles`)."""

OTHER_LAYOUTS = (
    # ESRGAN as first published (xinntao/ESRGAN, RRDB_ESRGAN_x4_old_arch).
    (r"model\.0\.(weight|bias)", r"conv_first.\1"),
    (r"model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.(weight|bias)", r"body.\1.rdb\2.conv\3.\4"),
    (r"model\.1\.sub\.\d+\.(weight|bias)", r"conv_body.\1"),
    (r"model\.3\.(weight|bias)", r"conv_up1.\1"),
    (r"model\.6\.(weight|bias)", r"conv_up2.\1"),
    (r"model\.8\.(weight|bias)", r"conv_hr.\1"),
    (r"model\.10\.(weight|bias)", r"conv_last.\1"),
    # ESRGAN's second layout, which BSRGAN and RealSR took over.
    (r"RRDB_trunk\.(\d+)\.RDB(\d)\.conv(\d)\.(weight|bias)", r"body.\1.rdb\2.conv\3.\4"),
    (r"trunk_conv\.(weight|bias)", r"conv_body.\1"),
    (r"upconv(\d)\.(weight|bias)", r"conv_up\1.\2"),
    (r"HRconv\.(weight|bias)", r"conv_hr.\1"),
)
"""Names of RRDBNet's layers in its other layouts (pattern of the whole key), and ours: those of BasicSR."""

MESSAGE_LENGTH = 300
"""Characters of another package's error that a message quotes."""

StateDict = Mapping[str, "torch.Tensor"]


def load_upsampler(
    source: WeightsSource,
    *,
    name: str | None = None,
    tile: int | None = None,
    place: Place | None = None,
) -> TiledUpsampler:
    """Return what enlarges or cleans photos with the network of a weights file.

    Args:
        source: safetensors or PyTorch file, or an RRDBNet x4 in ncnn's form (``.bin``); read without running code.
        name: what it is called; the path unless given.
        tile: side of a tile, photo pixels; None chooses one.
        place: where the network runs; None for the CPU. A provider is for networks with a graph.

    Raises:
        CheckpointError: the file is unsafe, corrupt or of no known network, or does not fit.
        ConfigError: the network is for faces, or does not enlarge RGB; or the tile is too small.
        BackendError: the network is none of ours, and spandrel is not installed; or torch is not.
    """
    file, place = open_weights(source), place or Place()
    network = load_cleaner(file, place) if is_cleaner(file) else _in_torch(file, place.device)
    return TiledUpsampler(network, name=name if name is not None else str(file.path), tile=tile)


def _in_torch(file: WeightsFile, device: str) -> Network:
    """Return a network that only torch runs."""
    path, state_dict = file.path, _tensors(file)
    try:
        own = _own_layout(state_dict)
        return _foreign(state_dict, path, device) if own is None else _rrdb(own, device)
    except CheckpointError as error:
        raise CheckpointError(f"'{path}': {error}") from error


def _tensors(file: WeightsFile) -> StateDict:
    """Return the tensors of a weights file, or of one in ncnn's form."""
    if file.path.suffix.lower() != SUFFIX:
        return load_state_dict(file)
    import torch

    return {name: torch.from_numpy(value) for name, value in read_ncnn(file.path).items()}


def is_upsampler(state_dict: StateDict) -> bool:
    """Say whether these keys are those of a network that enlarges photos; of spandrel's, only where it is installed."""
    if _own_layout(state_dict) is not None:
        return True
    try:
        import spandrel
    except ImportError:
        return False
    for support in spandrel.MAIN_REGISTRY.architectures("detection"):
        if support.detect(dict(state_dict)):
            return str(support.architecture.id) not in {"GFPGAN", "RestoreFormer", "LaMa"}
    return False


def holds_upsampler(source: WeightsSource) -> bool:
    """Say whether a file can be read and holds such a network."""
    try:
        file = open_weights(source)
        return is_cleaner(file) or is_upsampler(load_state_dict(file))
    except CheckpointError:
        return False


def _own_layout(state_dict: StateDict) -> dict[str, torch.Tensor] | None:
    """Return the tensors under our names where the network is our RRDBNet; None where it is another."""
    renamed = {_own_name(key): value for key, value in state_dict.items()}
    if not renamed.keys() >= RRDB_KEYS or any(".conv1x1." in key for key in renamed):  # 1x1: that of ESRGAN+
        return None
    first, last = renamed["conv_first.weight"], renamed["conv_last.weight"]
    return renamed if first.ndim == 4 and first.shape[1] in RRDB_SCALES and last.shape[0] == 3 else None


def _own_name(key: str) -> str:
    for pattern, name in OTHER_LAYOUTS:
        if found := re.fullmatch(pattern, key):
            return found.expand(name)
    return key


def _rrdb(state_dict: StateDict, device: str) -> Network:
    """Return an RRDBNet with these parameters, which have our names.

    Raises:
        CheckpointError: keys are missing or unexpected, or have another shape.
    """
    import torch

    from facerestore.archs.rrdb import RRDBNet

    first = state_dict["conv_first.weight"]
    blocks = {key.split(".")[1] for key in state_dict if key.startswith("body.")}
    scale = RRDB_SCALES[first.shape[1]]
    growth = state_dict["body.0.rdb1.conv1.weight"].shape[0]
    with torch.device("meta"):  # parameters are assigned, so none need be drawn
        network = RRDBNet(scale=scale, width=first.shape[0], blocks=len(blocks), growth=growth)
    load_strictly(network, state_dict, name=f"RRDBNet x{scale}")
    overlap = max(OVERLAP_PX, RRDB_OVERLAP_PX * network.fold)
    return Network(TorchEngine(network, device=device), scale, network.fold, overlap)


def _foreign(state_dict: StateDict, path: Path, device: str) -> Network:
    """Return a network of spandrel's.

    Raises:
        CheckpointError: spandrel does not know the keys, or the network does not fit them.
        ConfigError: it is for faces, or does not take and give RGB.
        BackendError: spandrel is not installed.
    """
    _refuse_faces(state_dict, path)
    spandrel = required_package(
        "spandrel", what=f"the background network '{path}'", install=INSTALL, error=BackendError
    )
    try:
        # A descriptor's own call takes RGB in [0, 1], continues it to a multiple, and gives [0, 1].
        found = spandrel.MAIN_REGISTRY.load(dict(state_dict))
    except spandrel.UnsupportedModelError as error:
        first = next(iter(state_dict))
        raise CheckpointError(
            f"no super-resolution network has its {len(state_dict)} keys (first '{first}'); give one of spandrel's,"
            " or a name of 'facerestore weights list' whose purpose is background"
        ) from error
    except Exception as error:  # how spandrel fails with a damaged file is not specified
        raise CheckpointError(f"the checkpoint does not fit: {_first_words(error)}") from error
    _check_kind(found, path)
    multiple = found.size_requirements.multiple_of
    engine = TorchEngine(_as_module(found), device=device)
    return Network(engine, found.scale, multiple, round_up(OVERLAP_PX, multiple))


def _as_module(found: Any) -> torch.nn.Module:
    """Return a descriptor of spandrel's as a module, which calls it."""
    import torch

    class Described(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = found.model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = found(x)
            return y

    return Described()


def _refuse_faces(state_dict: StateDict, path: Path) -> None:
    """Raise ConfigError where a restorer of faces recognises the keys."""
    try:
        backend = identify(state_dict)
    except CheckpointError:
        return
    raise ConfigError(
        f"'{path}' holds a network for faces (backend '{backend}'), and the background takes one that enlarges whole"
        " photos; give the file with --weights"
    )


def _check_kind(found: Any, path: Path) -> None:
    """Raise ConfigError unless a descriptor of spandrel's enlarges or cleans RGB pictures."""
    if found.purpose not in ("SR", "Restoration"):
        raise ConfigError(
            f"'{path}' holds a network of the kind {found.purpose} ({found.architecture.name}), and the background"
            " takes one that enlarges whole photos"
        )
    if (found.input_channels, found.output_channels) != (3, 3):
        raise ConfigError(
            f"'{path}' holds a network from {found.input_channels} to {found.output_channels} channels"
            f" ({found.architecture.name}), and the background takes one from RGB to RGB"
        )


def _first_words(error: Exception) -> str:
    """Return the beginning of an error of torch's, whose lists of keys may fill pages."""
    words = " ".join(line.strip() for line in str(error).splitlines()[:2])
    return f"{type(error).__name__}: {words}"[:MESSAGE_LENGTH]
