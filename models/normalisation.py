"""What is done to images before a network sees them: it belongs to the weights and is read from beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Normalisation:
    """Intensities in [0, scale] in a channel order, less `mean`, over `std`.

    Attributes:
        channel_order: "RGB" or "BGR".
        scale: value of full intensity.
        mean: of each channel, in that order and scale.
        std: the same.

    Raises:
        ValueError: if a value is impossible.
    """

    channel_order: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        if self.channel_order not in ("RGB", "BGR"):
            raise ValueError(f"channel_order must be RGB or BGR, got {self.channel_order!r}")
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError(f"mean and std must have three values each, got {self.mean} and {self.std}")
        if not (self.scale > 0 and min(self.std) > 0):
            raise ValueError(f"scale and std must be above 0, got {self.scale} and {self.std}")

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Normalisation:
        """From its form in a `config.json`.

        Raises:
            ValueError: if fields are absent or unusable.
        """
        try:
            mean, std = (tuple(map(float, fields[name])) for name in ("mean", "std"))
            return cls(str(fields["channel_order"]), float(fields["scale"]), mean, std)
        except (KeyError, TypeError) as error:
            raise ValueError(f"unusable normalisation {dict(fields)}") from error

    @classmethod
    def of_preprocessor(cls, fields: Mapping[str, Any]) -> Normalisation:
        """From the `preprocessor_config.json` of transformers.

        Raises:
            ValueError: if it normalises but does not say with what: its classes do not agree on a default.
        """
        scale = 255 * fields.get("rescale_factor", 1 / 255) if fields.get("do_rescale", True) else 255.0
        mean, std = fields.get("image_mean"), fields.get("image_std")
        if not fields.get("do_normalize", True):
            mean, std = (0, 0, 0), (1, 1, 1)
        order = "BGR" if fields.get("do_flip_channel_order", False) else "RGB"
        return cls.of({"channel_order": order, "scale": scale, "mean": mean, "std": std})

    @property
    def reversed(self) -> bool:
        """Whether the network sees blue first."""
        return self.channel_order == "BGR"

    @property
    def unit(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std of red, green and blue in [0, 1]: what a network needs whose first convolution sees RGB."""
        step = -1 if self.reversed else 1
        mean, std = (tuple(value / self.scale for value in values[::step]) for values in (self.mean, self.std))
        return mean, std

    def as_json(self) -> dict[str, Any]:
        """As `of` reads it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


KNOWN = {
    "imagenet": Normalisation("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # The Caffe networks: blue, green and red in 0 to 255, less ImageNet's mean, as they are.
    "caffe": Normalisation("BGR", 255.0, (104.007, 116.669, 122.679), (1.0, 1.0, 1.0)),
}
"""By the name that `convert --normalisation` knows them by."""
