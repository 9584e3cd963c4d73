"""Every reader of what strangers send, by name, each with what it may raise."""

from collections.abc import Callable
from dataclasses import dataclass

from kohonen_tokenizer.service.errors import BundleError, InputError, TokenizerError

from . import bodies, bundles
from .oracle import check_error


@dataclass(frozen=True)
class Target:
    """A function that takes any bytes, returns whether they were read, and may raise a `refusal`."""

    read: Callable[[bytes], bool]
    refusal: type[TokenizerError]

    def check(self, data: bytes) -> bool:
        """Whether `data` were read, and not refused as they may be; anything else is raised."""
        try:
            return self.read(data)
        except self.refusal as error:
            check_error(error)
            return False


_BODIES = (
    bodies.image,
    bodies.image_npy,
    bodies.image_safetensors,
    bodies.image_json,
    bodies.image_multipart,
    bodies.token_json,
    bodies.token_npy,
    bodies.token_safetensors,
    bodies.compressed,
    bodies.neighbors,
    bodies.soft_targets,
    bodies.perturb,
    bodies.interpolate,
    bodies.load,
    bodies.infer,
    bodies.infer_binary,
)
_BUNDLES = (bundles.manifest, bundles.codebook, bundles.graph, bundles.archive, bundles.tar)

TARGETS = {read.__name__: Target(read, InputError) for read in _BODIES} | {
    read.__name__: Target(read, BundleError) for read in _BUNDLES
}
