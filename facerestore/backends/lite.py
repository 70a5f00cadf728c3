"""The bundled restorer as a backend: small, quick on a CPU, free for any use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Self

from facerestore.backends.base import TensorRestorer, fixed_randomness
from facerestore.backends.restorer import Descriptor
from facerestore.errors import CheckpointError
from facerestore.weights.checkpoint import load_strictly, on_meta, shapes_of, trained_size
from facerestore.weights.mixing import BASE

if TYPE_CHECKING:
    import torch

    from facerestore.archs.lite import LiteConfig

WHOLE_PHOTOS = "background"
"""Purpose of weights of the same network that are no restorer's; see `facerestore.background.cleaner`."""

FACE_SIZE = 256
"""The network is fully convolutional; files whose header states no size were trained on faces of this one."""


class LiteRestorer(TensorRestorer):
    """Restores faces with :class:`facerestore.archs.lite.LiteGenerator`; both ranges are [0, 1]."""

    descriptor = Descriptor(
        name="lite",
        summary="small residual network that comes with facerestore; quick on a CPU",
        paper="none: a residual U-shaped network of ours",
        network_range=(0.0, 1.0),
        sees_filled=True,
        takes_half=True,
    )
    replayable = True

    def inference_form(self, network: torch.nn.Module) -> torch.nn.Module:
        """Return the network as it was trained.

        Its features lie with channels last, and Winograd's method would lay them out anew: on two threads it takes 1.05
        times as long, though 0.95 times on one (measured in turns).
        """
        return network

    @classmethod
    def detect(cls, state_dict: Mapping[str, torch.Tensor]) -> bool:
        """Say whether the keys are those of the bundled restorer."""
        return {"stem.weight", "down.0.weight", "up.0.weight", "head.weight"} <= state_dict.keys()

    @classmethod
    def config_from_state_dict(cls, state_dict: Mapping[str, torch.Tensor]) -> LiteConfig:
        """Return the network's shape.

        Raises:
            CheckpointError: a tensor that every such network has is missing.
        """
        from facerestore.archs.lite import config_from_shapes

        try:
            return config_from_shapes(shapes_of(state_dict))
        except (KeyError, ValueError, IndexError) as error:
            raise CheckpointError(f"no 'lite' network: {error}; the file is cut short or foreign") from error

    @classmethod
    def build(cls, state_dict: Mapping[str, torch.Tensor], *, device: torch.device | str = "cpu") -> Self:
        """Return a restorer with these parameters, computed in float32 whatever they are stored in.

        A network that refines another has that one's parameters beside its own, under `BASE`.

        Raises:
            CheckpointError: keys are missing, unexpected, or have the wrong shape.
        """
        import torch

        from facerestore.archs.lite import COLOURS, LiteGenerator, RefiningGenerator

        config = cls.config_from_state_dict(state_dict)
        base = {key.removeprefix(BASE): value for key, value in state_dict.items() if key.startswith(BASE)}
        if bool(base) != (config.inputs != COLOURS):
            raise CheckpointError(
                "it refines what other weights give, and they are not named; export its run again"
                if not base
                else "it refines nothing, and was given what it should refine"
            )
        make = partial(RefiningGenerator, base=cls.config_from_state_dict(base)) if base else LiteGenerator
        network = on_meta(make, config)
        load_strictly(
            network, {key: value.float() for key, value in state_dict.items()}, name=cls.descriptor.name
        )
        network.to(memory_format=torch.channels_last)
        return cls(network, face_size=FACE_SIZE, device=device)

    def for_header(self, header: Mapping[str, str]) -> Self:
        """Return this restorer for faces of the size, and for the task, that the header states.

        Raises:
            CheckpointError: that is no size, or none that the network can take; or it is not for faces.
        """
        purpose = header.get("purpose", "restore")
        if purpose == WHOLE_PHOTOS:
            raise CheckpointError("its header says that it cleans whole photos, and no faces")
        size = trained_size(header, default=FACE_SIZE)
        multiple = int(self.network.size_multiple)  # type: ignore[arg-type]
        if size % multiple:
            raise CheckpointError(
                f"its header states faces of {size} px, and the network takes multiples of {multiple}"
            )
        sized = (
            self if size == self.face_size else type(self)(self.network, face_size=size, device=self.device)
        )
        return sized if purpose in sized.descriptor.tasks else sized.redeclared(tasks=(purpose,))

    @classmethod
    def example_state_dict(cls) -> dict[str, torch.Tensor]:
        """Return the parameters of a tiny network; being residual, it hardly changes a face."""
        from facerestore.archs.lite import LiteConfig, LiteGenerator

        with fixed_randomness():
            return LiteGenerator(LiteConfig(widths=(4, 6), blocks=(1, 1))).state_dict()

    @classmethod
    def published(cls) -> Iterator[Self]:
        """Yield the bundled size."""
        from facerestore.archs.lite import BUNDLED, LiteGenerator

        network = on_meta(LiteGenerator, BUNDLED)
        yield cls(network, face_size=FACE_SIZE, device="meta")
