"""Image files and PIL images to pixels (docs/inputs.md): formats, limits, depth, colours, orientation."""

from navit_edge.decode.decoder import Decoder
from navit_edge.decode.encoded import Encoded
from navit_edge.decode.formats import FORMATS
from navit_edge.decode.frames import Decoded
from navit_edge.decode.options import DecodeOptions, Recorded

__all__ = ["FORMATS", "DecodeOptions", "Decoded", "Decoder", "Encoded", "Recorded"]
