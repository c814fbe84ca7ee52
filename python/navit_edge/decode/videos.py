"""Which files are videos: by what they begin with, never by their name."""

from __future__ import annotations

#: What a folder is searched for, and what a file is taken for whose bytes say nothing.
VIDEO_SUFFIXES = (".3gp", ".asf", ".avi", ".flv", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
                  ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m")  # fmt: skip

#: Of these, what other files are called, too (TypeScript): in folders their content decides.
AMBIGUOUS_SUFFIXES = (".mts", ".ts")

#: Bytes of a file's beginning that say what it is.
HEAD_BYTES = 1024

#: How videos begin: at which byte, with what -> what it is.
_MAGICS = (
    (0, b"\x1aE\xdf\xa3", "a Matroska or WebM video"),
    (0, b"FLV\x01", "an FLV video"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "an ASF or WMV video"),
    (0, b"\0\0\x01\xba", "an MPEG video"),
    (0, b"\0\0\x01\xb3", "an MPEG video"),
    (0, b"OggS", "an Ogg stream"),
    (0, b"DKIF", "an IVF video"),
    (0, b"YUV4MPEG2 ", "a YUV4MPEG video"),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01", "an MXF video"),
    (0, b".RMF", "a RealMedia video"),
    (0, b"\0\0\0\x01\x67", "an H.264 stream"),
    (0, b"\0\0\0\x01\x40\x01", "an H.265 stream"),
)
TRANSPORT_STREAM = "an MPEG transport stream"
#: Boxes that a QuickTime file without ``ftyp`` begins with.
_QUICKTIME = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
#: Brands of ISO media files that hold still images and sequences of them.
_IMAGE_BRANDS = {b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm",
                 b"hevs", b"jp2 ", b"jpx ", b"crx "}  # fmt: skip


def video_words(head: bytes) -> str:
    """What kind of video a file is that begins with ``head``, as "an AVI video"; "" for anything else."""
    for start, magic, words in _MAGICS:
        if head.startswith(magic, start):
            return words
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "an AVI video"
    if head[4:8] == b"ftyp":
        return "" if head[8:12] in _IMAGE_BRANDS else "an ISO media file (MP4, MOV)"
    if head[4:8] in _QUICKTIME:
        return "an ISO media file (MP4, MOV)"
    for start, length in ((0, 188), (4, 192)):  # the second: BDAV, M2TS
        packets = range(start, min(len(head), start + 5 * length), length)
        if len(packets) > 2 and all(head[place] == 0x47 for place in packets):
            return TRANSPORT_STREAM
    return ""
