"""What every backend is: a class derived from `Restorer`, which says all about itself in one `Descriptor`.

Nothing here needs torch, so that a restorer may be made of anything; `facerestore.backends.base.TensorRestorer` is for
those that are made of a torch network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

from facerestore.backends.tensors import checked_crop
from facerestore.errors import BackendError, ConfigError, count
from facerestore.imaging.pixels import resize_face
from facerestore.types import AlignedFace, FaceImage, ParsingMap, Stage

if TYPE_CHECKING:
    import torch

DECLARE = "derive it from facerestore.Restorer, and add descriptor = facerestore.Descriptor(name=..., face_size=...)"
"""What is said to the author of a restorer that declares nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """What a restorer is. A class states what holds for all its networks, an instance adds what its own is.

    Attributes:
        name: what ``--backend`` calls it; first part of its weights' names (``gpen`` in ``gpen.bfr-512``).
        summary: what it is, in one line for ``facerestore backends list``.
        paper: authors, title and where it stands; or a plain statement that there is none.
        requires: Python modules that it needs and that facerestore does not install by itself.
        needs_weights: it is made from a weights file, by ``detect`` and ``build``; else by ``create``.
        tasks: what it does: ``restore``, ``colorize``, ``inpaint``, ``synthesize``.
        face_size: side of the faces that it gives, pixels; 0 of a class whose weights tell.
        input_size: side of the faces that its network takes, pixels; 0 where that is ``face_size``.
        network_range: (low, high) values of its network's input and output; None where it has no network.
        needs_parsing: it takes a parsing map beside each face.
        sees_filled: of holes it sees what fills them from their rims, and it changes that; else it sees them white.
        drawn_maps: it was trained on maps drawn from the five landmarks, and takes such maps.
        parser_weights: catalog name of the parser on whose maps it was trained; None for those of a ParseNet.
        fidelity: its weight between quality (0) and fidelity to the input (1); None where it has no such dial.
        detail: share of the weights that draw detail in its network; None where they are not mixed.
        has_stages: ``stages`` shows its work scale by scale.
        takes_half: the automatic precision may be fp16: its faces in it were compared with those in float32.
        precision: number format that it computes in: ``float32``, ``bf16`` or ``fp16``; None where it does not tell.
        max_batch: most faces in one call of its network, 1 where each goes alone; 0 where it does not tell.
    """

    name: str
    summary: str = ""
    paper: str = ""
    requires: tuple[str, ...] = ()
    needs_weights: bool = True
    tasks: tuple[str, ...] = ("restore",)
    face_size: int = 0
    input_size: int = 0
    network_range: tuple[float, float] | None = None
    needs_parsing: bool = False
    sees_filled: bool = False
    drawn_maps: bool = False
    parser_weights: str | None = None
    fidelity: float | None = None
    detail: float | None = None
    has_stages: bool = False
    takes_half: bool = False
    precision: str | None = None
    max_batch: int = 0

    def missing_modules(self) -> tuple[str, ...]:
        """Return the modules of `requires` that are not installed."""
        return tuple(module for module in self.requires if find_spec(module) is None)

    def in_words(self) -> dict[str, str]:
        """Return what people ask of a restorer, by what it is called, such as ``parsing map``: ``needed``."""
        low, high = self.network_range or (None, None)
        half = (
            "not compared" if not self.takes_half else "compared with float32; --precision auto may take it"
        )
        return {
            "faces": f"{self.face_size} px" if self.face_size else "size by weights",
            "value range": "not stated" if low is None else f"{low:g} to {high:g}",
            "parsing map": "needed" if self.needs_parsing else "not needed",
            "tasks": ", ".join(self.tasks),
            "fidelity": "no dial" if self.fidelity is None else f"0 to 1, {self.fidelity:g} unless given",
            "stages": "shown by --save-stages" if self.has_stages else "none to show",
            "half floats": half,
            **({"batch": f"up to {count(self.max_batch, 'face')} in a call"} if self.max_batch else {}),
        }


class Restorer(ABC):
    """Restores aligned faces: the extension point for backends.

    A backend derives from this class, states its ``descriptor`` and implements `restore`; one that is made from weights
    also `detect` and `build`. All else may be left as it is here. A package names the class under the entry point group
    ``facerestore.backends``; ``facerestore backends check NAME``, or `facerestore.check_restorer`, tells what is amiss.

    Attributes:
        descriptor: what it is; see `Descriptor`.
    """

    descriptor: Descriptor

    @property
    def name(self) -> str:
        """What ``--backend`` calls it."""
        return self.descriptor.name

    @property
    def face_size(self) -> int:
        """Side of the faces that `restore` gives, pixels."""
        return self.descriptor.face_size

    @property
    def input_size(self) -> int:
        """Side of the faces that its network takes, pixels."""
        return self.descriptor.input_size or self.descriptor.face_size

    @property
    def needs_parsing(self) -> bool:
        """Whether `restore` needs a parsing map for each face."""
        return self.descriptor.needs_parsing

    @property
    def network_range(self) -> tuple[float, float]:
        """(low, high) values of the network's input and output; raises BackendError where the descriptor has none."""
        if self.descriptor.network_range is None:
            raise BackendError(
                f"backend '{self.name}' states no value range; add network_range=(-1, 1), or whatever its network was"
                " trained in, to its descriptor"
            )
        return self.descriptor.network_range

    @property
    def overlaps(self) -> bool:
        """Whether a second thread may hand over faces while one fetches its own."""
        return False

    @property
    def remarks(self) -> Sequence[str]:
        """What running it has shown that people should know, one sentence each; so no part of the descriptor."""
        return ()

    @abstractmethod
    def restore(
        self, faces: Sequence[AlignedFace], parsing_maps: Sequence[ParsingMap] | None = None
    ) -> list[FaceImage]:
        """Return one (face_size, face_size, 3) float32 RGB [0, 1] image per face, in order.

        Args:
            faces: the faces, cut out; see `crops`.
            parsing_maps: one (S, S) uint8 map of class ids per face; they may be given to every restorer.

        Raises:
            BackendError: an input is no face image, or the network failed or gave a value that is not finite.
        """

    def crops(self, faces: Sequence[AlignedFace]) -> list[FaceImage]:
        """Return the crops of faces, (input_size, input_size, 3) float32 RGB in [0, 1], which the caller may change.

        Those of another size are resized: by area when reducing, cubic when enlarging.

        Raises:
            BackendError: one is not a square float32 RGB array with values in [0, 1].
        """
        return [resize_face(checked_crop(face, self.name), self.input_size) for face in faces]

    @classmethod
    def create(cls, *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer that needs no weights.

        Args:
            device: where it is to run, if it runs on devices at all.
        """
        return cls()

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether a state dict belongs to this backend, from key names alone."""
        return False

    @classmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> Any:
        """Return the network's configuration, read from the shapes of its tensors; None where there is none to read.

        Raises:
            CheckpointError: the shapes fit no configuration of this network.
        """
        return None

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters on ``device``.

        Raises:
            CheckpointError: keys are missing, unexpected, or have the wrong shape.
        """
        raise ConfigError(f"backend '{cls.descriptor.name}' takes no weights; leave them out")

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a small network with random weights, the same at every call.

        With it ``facerestore backends check NAME --random`` tries the adapter where no weights are installed.
        An adapter that offers it overrides this; the program's own random numbers stay as they are.

        Raises:
            ConfigError: this backend offers none.
        """
        raise ConfigError(
            f"backend '{cls.descriptor.name}' has no example network; give weights with --weights"
        )

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield a restorer at each published size, on the meta device: shapes without parameters or work.

        ``facerestore backends info NAME`` counts parameters and operations of them. None unless overridden.
        """
        yield from ()

    def redeclared(self, **changes: Any) -> Self:
        """Return this restorer with other values in its descriptor; its network is shared."""
        other = copy(self)
        other.descriptor = replace(self.descriptor, **changes)
        return other

    def for_header(self, header: Mapping[str, str]) -> Self:
        """Return this restorer as the header of its weights file asks for, where tensors do not tell it.

        Args:
            header: the text entries of a safetensors file; those of other programs are not ours to understand.
        """
        return self

    def for_task(self, purpose: str) -> Restorer:
        """Return this restorer as it does a task.

        Args:
            purpose: ``restore``, ``colorize``, ``inpaint`` or ``synthesize``.

        Raises:
            ConfigError: the task is none of its own.
        """
        if purpose in self.descriptor.tasks:
            return self
        raise ConfigError(
            f"backend '{self.name}' with these weights can {' and '.join(self.descriptor.tasks)} faces, and not"
            f" {purpose} them; give others ('facerestore weights list' says what each is for), or leave them out"
        )

    def with_fidelity(self, value: float) -> Restorer:
        """Return this restorer with another weight between quality (0) and fidelity to the input (1).

        Raises:
            ConfigError: it has no such weight, or ``value`` is outside 0 to 1.
        """
        raise ConfigError(
            f"backend '{self.name}' has no fidelity weight, and {value:g} was given; leave it out, choose the backend"
            " codeformer, or mix in less of the restored face with --strength"
        )

    def with_precision(self, precision: str) -> Restorer:
        """Return this restorer computing in another number format: ``float32``, ``bf16`` or ``fp16``.

        Raises:
            ConfigError: it does not compute in this format.
        """
        if precision == "float32":
            return self
        raise ConfigError(
            f"backend '{self.name}' computes in a format of its own, and precision {precision} was given; leave it out"
        )

    def stages(self, face: AlignedFace, parsing_map: ParsingMap) -> list[Stage]:
        """Return what the network makes of a face at each scale, coarsest first.

        Raises:
            ConfigError: it does not work in stages.
        """
        raise ConfigError(f"backend '{self.name}' does not work in stages")


def has_own(found: type[Restorer], method: str) -> bool:
    """Say whether a class has a method of its own, and not that of `Restorer`."""
    return any(method in vars(kind) for kind in found.__mro__ if kind is not Restorer)
