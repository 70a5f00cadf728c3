"""Files of network parameters: safe reading, one canonical form, strict loading, atomic writing.

Nothing here ever unpickles code. Two formats are read: safetensors, and PyTorch's own files through its
restricted unpickler (``weights_only=True``), which builds tensors and plain containers and refuses everything
else.
"""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeVar

from facerestore.errors import CheckpointError, MalformedError, parse_whole, refusing, require_torch, why
from facerestore.files import path_written_whole
from facerestore.weights.weights_file import (
    GRAPH_TENSORS,
    LFS_POINTER,
    PICKLE_MAGIC,
    ZIP_MAGIC,
    WeightsFile,
    WeightsSource,
    look_at,
)
from facerestore.weights.wrapping import canonical_state_dict

if TYPE_CHECKING:
    from torch import Tensor, nn

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
"""The shape of each tensor by its key: what architectures are recognised and configured from."""

Config = TypeVar("Config")
Network = TypeVar("Network", bound="nn.Module")


def open_weights(source: WeightsSource) -> WeightsFile:
    """Return what one look finds of a file that is to be loaded; a file that was looked into is not opened again.

    Raises:
        CheckpointError: it is absent or empty, or cannot be read.
    """
    path = source.path if isinstance(source, WeightsFile) else source
    if not path.is_file():
        raise CheckpointError(f"'{path}' is not a file; see 'facerestore weights list' for what is installed")
    with refusing(lambda why: CheckpointError(f"cannot read '{path}': {why}; see who owns it")):
        file = look_at(source)
    if file.size_bytes == 0:
        raise CheckpointError(f"'{path}' is empty (0 bytes); remove it and download it again")
    return file


def load_state_dict(source: WeightsSource, *, key: str | None = None) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint file, on the CPU, in canonical form.

    The format is told by the file's first bytes (or a ``.safetensors`` suffix). Tensors of safetensors and of
    PyTorch's zip format are mapped from the file, so they cost memory only as they are used.

    Args:
        source: a safetensors file, or one written by ``torch.save``.
        key: the entry that holds the network, for files that hold several; None follows ``wrapping.WRAPPER_KEYS``.

    Raises:
        CheckpointError: the file is absent, empty, truncated, of another format, holds no network, or holds
            objects other than tensors, which are refused because loading them could run code.
        BackendError: torch is not installed.
    """
    file = open_weights(source)
    require_torch(f"the network of '{file.path}', which is not run by ONNX Runtime,")
    name = str(file.path)
    state_dict = canonical_state_dict(_read_contents(file), key=key, source=name)
    while (bare := canonical_state_dict(state_dict, source=name)).keys() != state_dict.keys():
        state_dict = bare
    return state_dict


def read_metadata(source: WeightsSource) -> dict[str, str]:
    """Return the text entries that a safetensors file carries, without reading its tensors.

    Raises:
        CheckpointError: the file is absent or is not a safetensors file.
    """
    file = open_weights(source)
    if file.fault is not None:
        raise CheckpointError(
            f"'{file.path}' is not a safetensors file ({why(file.fault)}); only those carry metadata"
        ) from file.fault
    return dict(file.metadata)


def load_strictly(module: nn.Module, state_dict: Mapping[str, Tensor], *, name: str) -> None:
    """Give ``module`` exactly these parameters and buffers, or fail with what differs.

    The tensors are assigned, not copied: the module shares memory with ``state_dict``, and a module built on
    the meta device becomes real. Floating-point tensors of another precision are converted to the module's.

    Args:
        module: the network.
        state_dict: its keys and tensors, no more and no fewer.
        name: what is loaded, for messages, such as ``gpen 512 px``.

    Raises:
        CheckpointError: keys are missing, unexpected or of another shape; the first of each is named, with
            counts.
    """
    own = module.state_dict()
    check_fit({key: value.shape for key, value in own.items()}, state_dict, name=name)
    fitted = {key: state_dict[key].detach().to(own[key].dtype) for key in own}
    module.load_state_dict(fitted, strict=True, assign=True)


def shapes_of(state_dict: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor."""
    return {key: tuple(value.shape) for key, value in state_dict.items()}


def count_indices(shapes: Shapes, pattern: str) -> int:
    """Return how many different indices, the first group of ``pattern``, the keys have that it matches as a whole."""
    return len({found[1] for key in shapes if (found := re.fullmatch(pattern, key))})


def on_meta(make: Callable[[Config], Network], config: Config) -> Network:
    """Return a network on the meta device, shapes without numbers: `load_strictly` assigns them, so none is drawn."""
    import torch

    with torch.device("meta"):
        return make(config)


def check_fit(expected: Shapes, state_dict: Mapping[str, Tensor], *, name: str) -> None:
    """Fail with what differs unless ``state_dict`` has exactly the expected keys and shapes.

    Args:
        expected: the shape of each key.
        state_dict: the keys and tensors of a checkpoint.
        name: what is loaded, for messages, such as ``gpen 512 px``.

    Raises:
        CheckpointError: keys are missing, unexpected or of another shape; the first of each is named, with
            counts.
    """
    missing = [key for key in expected if key not in state_dict]
    unexpected = [key for key in state_dict if key not in expected]
    misshapen = [key for key in expected if key in state_dict and expected[key] != state_dict[key].shape]
    parts = []
    if missing:
        parts.append(f"{len(missing)} missing (first '{missing[0]}')")
    if unexpected:
        parts.append(f"{len(unexpected)} unexpected (first '{unexpected[0]}')")
    if misshapen:
        shapes = f"{tuple(state_dict[misshapen[0]].shape)}, expected {tuple(expected[misshapen[0]])}"
        parts.append(f"{len(misshapen)} misshapen (first '{misshapen[0]}' is {shapes})")
    if parts:
        raise CheckpointError(f"the checkpoint does not fit {name}, {len(expected)} keys: {'; '.join(parts)}")


def save_state_dict(
    path: Path, state_dict: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors to a safetensors file that appears under its name only when it is whole.

    Args:
        path: the file to write; an existing one is replaced.
        state_dict: keys and tensors of any device; tensors that share memory are written apart.
        metadata: text entries, read back by `read_metadata`.

    Raises:
        CheckpointError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(path)
    tensors = {key: value.detach().to("cpu", copy=True).contiguous() for key, value in state_dict.items()}
    try:
        with path_written_whole(path) as (temporary, _):
            # By the user's umask; safetensors would leave it to the owner alone.
            mode = temporary.stat().st_mode
            save_file(tensors, temporary, metadata=dict(metadata or {}))
            temporary.chmod(mode)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write '{path}': {error}; check the folder and the free space"
        ) from error


def _read_contents(file: WeightsFile) -> Mapping[str, Any]:
    """Return what the file holds: a mapping, by the reader that its first bytes call for."""
    path, start = file.path, file.start
    with refusing(
        lambda why: CheckpointError(f"'{path}' is truncated or corrupt: {why}; download or import it again")
    ):
        if path.suffix == ".safetensors" or start[8:9] == b"{":
            return _read_safetensors(file)
        if start.startswith(ZIP_MAGIC):
            return _read_torch(path, str(path), mmap=True)
        if start.startswith(PICKLE_MAGIC) and not _is_tar(start):
            with _Bounded(path) as stream:
                return _read_torch(path, stream, mmap=False)
    raise CheckpointError(
        f"'{path}' is not a checkpoint{_guess_format(start)}; it must be a safetensors or PyTorch file"
    )


def _is_tar(start: bytes) -> bool:
    """Say whether a file begins like a tar archive, which before torch 2.6 reached the unrestricted unpickler.

    (CVE-2025-32434.)
    """
    import tarfile

    try:
        tarfile.TarInfo.frombuf(start, tarfile.ENCODING, "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _guess_format(start: bytes) -> str:
    """Say what a file that is no checkpoint seems to be."""
    if start.lstrip().startswith(b"<"):
        return " but a web page, perhaps an error page saved by a download"
    if start.startswith(b"\x80"):
        return " but a Python pickle, refused because loading it could run code"
    if start.startswith(LFS_POINTER):
        return " but a Git LFS pointer; fetch the file itself"
    return f" (it starts with {start[:8]!r})"


def _read_safetensors(file: WeightsFile) -> Mapping[str, Any]:
    from safetensors.torch import load_file

    # Looked for within bounds, which the library's own reader of headers does not know.
    if file.fault is not None:
        raise file.fault
    found = load_file(file.path, device="cpu")
    return {name: value for name, value in found.items() if not name.startswith(GRAPH_TENSORS)}


class _Bounded(io.BufferedReader):
    """A file of which no more is asked than there is, since room is made for whatever length a pickle states."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, all that are left for a size that is none."""
        left = max(0, self._size - self.tell())
        return super().read(left if size is None or size < 0 else min(size, left))


def _read_torch(path: Path, source: str | BinaryIO, *, mmap: bool) -> Mapping[str, Any]:
    import torch

    try:
        contents = torch.load(source, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path}' was refused: it is corrupt, or holds objects other than tensors, and loading those"
            f" could run code{_refused_global(error)}; get a safetensors file, or one saved as a plain state dict"
        ) from error
    if not isinstance(contents, Mapping):
        raise CheckpointError(
            f"'{path}' holds a {type(contents).__name__}, not a state dict of named tensors; get the file that"
            " its authors publish, or save the network's state_dict()"
        )
    return contents


def _refused_global(error: pickle.UnpicklingError) -> str:
    """Return which name of Python the restricted unpickler met, where its message tells."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" (it asks for '{found[1]}')" if found else ""


SIZE_ENTRY = "face_size"
"""What networks that take any size say in their file's header: the side of the faces that they were trained on, px."""

MOST_SIDE_PX = 8192
"""Of the faces that a network may be trained on: a damaged header is not taken for a demand of memory."""


def trained_size(header: Mapping[str, str], *, default: int) -> int:
    """Return the side of the faces, in pixels, that a network was trained on, as the header of its file says.

    Raises:
        CheckpointError: what it says is no such number.
    """
    with refusing(
        lambda why: CheckpointError(f"its header says that {SIZE_ENTRY} is no side in pixels: {why}")
    ):
        size = parse_whole(header.get(SIZE_ENTRY, str(default)), most=MOST_SIDE_PX)
        if not size:
            raise MalformedError("it is 0")
    return size
