"""What a PNG file may hold beside its pixels, whole and damaged."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from both_decoders import oriented, profile
from image_files import chunk, encoded, picture
from PIL import Image, ImageCms, PngImagePlugin
from png_files import GRAY, GRAY_ALPHA, PALETTE, RGB, RGBA, file_of, palette, samples_of

SAMPLES = samples_of(RGB, 8, 24, 40)


def text(name: str, value: bytes) -> bytes:
    return chunk(b"tEXt", name.encode("latin-1") + b"\0" + value)


def small_text(name: str, value: bytes) -> bytes:
    return chunk(b"zTXt", name.encode("latin-1") + b"\0\0" + zlib.compress(value))


def xmp(orientation: int, *, compressed: bool = False) -> bytes:
    value = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><d tiff:Orientation="%d"/></x:xmpmeta>' % orientation
    body = b"\1\0\0\0" + zlib.compress(value) if compressed else b"\0\0\0\0" + value
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0" + body)


def exif(orientation: int) -> bytes:
    return chunk(b"eXIf", oriented(orientation).removeprefix(b"Exif\0\0"))


def magick(orientation: int) -> bytes:
    """EXIF as ImageMagick writes it, the value of a text."""
    data = oriented(orientation)
    lines = "\n".join(data.hex()[at : at + 72] for at in range(0, 2 * len(data), 72))
    return f"\nexif\n{len(data):8d}\n{lines}\n".encode()


def icc(data: bytes) -> bytes:
    return chunk(b"iCCP", b"profile\0\0" + zlib.compress(data))


def rgb(*before: bytes, after: tuple[bytes, ...] = (), behind: bytes = b"") -> bytes:
    """A colour file with these chunks."""
    return file_of(SAMPLES, RGB, 8, filters=(0, 1, 2, 3, 4), before=before, after=after, behind=behind)


def metadata() -> dict[str, bytes]:
    """Of whole files."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    made = {f"EXIF {turn}": rgb(exif(turn)) for turn in range(10)}
    made |= {f"late EXIF {turn}": rgb(after=(exif(turn),)) for turn in (1, 6)}
    made |= {f"XMP {turn}": rgb(xmp(turn)) for turn in (0, 1, 3, 8, 9)}
    made["compressed XMP 6"] = rgb(xmp(6, compressed=True))
    made["late XMP 6"] = rgb(after=(xmp(6),))
    made["EXIF 1, XMP 6"] = rgb(xmp(6), exif(1))
    made["EXIF as text 6"] = rgb(text("Raw profile type exif", magick(6)))
    made["EXIF as compressed text 6"] = rgb(small_text("Raw profile type exif", magick(6)))
    made["late EXIF as text 6"] = rgb(after=(text("Raw profile type exif", magick(6)),))
    made["damaged EXIF"] = rgb(chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"))
    made["damaged EXIF as text"] = rgb(text("Raw profile type exif", b"\nexif\n 4\nzz"))
    made["sRGB"] = rgb(chunk(b"sRGB", b"\0"), chunk(b"gAMA", struct.pack(">I", 45455)))
    made["gamma"] = rgb(chunk(b"gAMA", struct.pack(">I", 100000)), chunk(b"cHRM", struct.pack(">8I", *range(1, 9))))
    made["sRGB profile"] = rgb(icc(srgb))
    made["another profile"] = rgb(icc(profile()))
    made["damaged profile"] = rgb(icc(b"no profile"))
    made["late profile"] = rgb(after=(icc(profile()),))
    colours = samples_of(PALETTE, 8, 24, 40)
    made["palette with a profile"] = file_of(colours, PALETTE, 8, before=[icc(profile()), palette(256)])
    made["texts"] = rgb(text("Title", b"t"), small_text("Comment", b"c" * 1000), chunk(b"tIME", bytes(7)),
                        chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)), chunk(b"bKGD", bytes(6)))  # fmt: skip
    made["late texts"] = rgb(after=(text("date:create", b"2026"), text("Software", b"s"), chunk(b"tIME", bytes(7))))
    made["a late text of another name"] = rgb(after=(text("other", b"o"),))
    made["a late compressed text"] = rgb(after=(small_text("Comment", b"c"),))
    made["text that inflates"] = rgb(small_text("Comment", bytes(2 << 20)))
    made["late text that inflates"] = rgb(after=(small_text("Comment", bytes(2 << 20)),))
    for name in ("transparency", "exif", "icc_profile", "interlace", "bbox", "xmp", "XML:com.adobe.xmp", "gamma"):
        made[f"a text called {name}"] = rgb(text(name, b"1"))
        made[f"a late text called {name}"] = rgb(after=(text(name, b"1"),))
    made["private chunk"] = rgb(chunk(b"prVt", b"x"), after=(chunk(b"prVt", b"y"),))
    made["bytes behind the end"] = rgb(behind=b"more" * 50)
    made["5,000 chunks"] = rgb(*[text("Title", b"t")] * 5000)
    made["pixels in chunks of one byte"] = file_of(SAMPLES, RGB, 8, idat_bytes=1)
    made["pixels behind its pixels"] = rgb(after=(chunk(b"IDAT", b"pixels"),))
    made["empty chunks of pixels"] = rgb(chunk(b"IDAT", b""), chunk(b"IDAT", b""))
    frames = [Image.fromarray(picture(24, 40) + place) for place in range(2)]
    made["animation"] = encoded("PNG", frames[0], save_all=True, append_images=frames[1:])
    made["animation beside a picture"] = encoded(
        "PNG", frames[0], save_all=True, append_images=frames, default_image=True
    )
    made["animation of one picture"] = rgb(
        chunk(b"acTL", struct.pack(">II", 1, 0)),
        chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 40, 24, 0, 0, 1, 10, 0, 0)),
    )
    return made | transparency()


def transparency() -> dict[str, bytes]:
    """Alpha channels and transparent colours."""
    made = {}
    for colour, bits in ((RGBA, 8), (RGBA, 16), (GRAY_ALPHA, 8), (GRAY_ALPHA, 16)):
        samples = samples_of(colour, bits, 24, 40)
        made[f"alpha, type {colour}, {bits} bits"] = file_of(samples, colour, bits)
        opaque = samples.copy()
        opaque[:, :, -1] = (1 << bits) - 1
        made[f"opaque, type {colour}, {bits} bits"] = file_of(opaque, colour, bits)
    for bits in (1, 2, 4, 8, 16):
        samples = samples_of(GRAY, bits, 24, 40)
        for key in (int(samples[5, 5, 0]), 65000):
            made[f"gray {key} is transparent, {bits} bits"] = file_of(
                samples, GRAY, bits, before=[chunk(b"tRNS", struct.pack(">H", key))]
            )
    for bits in (8, 16):
        samples = samples_of(RGB, bits, 24, 40)
        found = [int(value) for value in samples[5, 5]]
        for key in (found, [found[0], 65000, 0]):
            made[f"colour {key} is transparent, {bits} bits"] = file_of(
                samples, RGB, bits, before=[chunk(b"tRNS", struct.pack(">3H", *key))]
            )
    for bits in (1, 2, 4, 8):
        samples = samples_of(PALETTE, bits, 24, 40)
        for alphas in (b"\0", b"\xff\0", b"\xff\xff", b"\x80\x10"):
            made[f"palette with {alphas.hex()}, {bits} bits"] = file_of(
                samples, PALETTE, bits, before=[palette(1 << bits), chunk(b"tRNS", alphas)]
            )
    made["alpha and transparent colours"] = file_of(
        samples_of(RGBA, 8, 24, 40), RGBA, 8, before=[chunk(b"tRNS", bytes(6))]
    )
    return made


def damaged() -> dict[str, bytes]:
    """Of files that something is wrong with."""
    whole = rgb()
    pixels = whole.index(b"IDAT")
    raw = zlib.decompress(whole[pixels + 4 : -16])
    made = {"without its end": whole[:-12], "without its last checksum": whole[:-4], "cut off": whole[:-60]}
    made["cut off in its header"] = whole[:20]
    made["cut off before its pixels"] = whole[: pixels - 4]

    def of_pixels(data: bytes) -> bytes:
        return whole[: pixels - 4] + chunk(b"IDAT", data) + whole[-12:]

    made["more rows than it has"] = of_pixels(zlib.compress(raw + raw))
    made["fewer rows than it has"] = of_pixels(zlib.compress(raw[: len(raw) // 2]))
    made["fewer rows, cut off within one"] = of_pixels(zlib.compress(raw[: len(raw) // 2 + 7]))
    made["a damaged sum of its pixels"] = of_pixels(zlib.compress(raw)[:-4] + bytes(4))
    made["no sum of its pixels"] = of_pixels(zlib.compress(raw)[:-4])
    made["bytes behind its compressed pixels"] = of_pixels(zlib.compress(raw) + b"abc")
    made["an unknown filter"] = of_pixels(zlib.compress(b"\7" + raw[1:]))
    made["no pixels"] = whole[: pixels - 4] + whole[-12:]
    made["pixels in two places"] = rgb(after=(text("Title", b"t"), chunk(b"IDAT", b"x")))
    made["a damaged checksum of its pixels"] = whole[:-13] + bytes([whole[-13] ^ 1]) + whole[-12:]
    for name, before in (("early", True), ("late", False)):
        broken = text("Title", b"title")
        broken = broken[:-1] + bytes([broken[-1] ^ 1])
        made[f"a damaged checksum of an {name} text"] = rgb(broken) if before else rgb(after=(broken,))
    made["an unknown critical chunk"] = rgb(chunk(b"ABCD", b"x"))
    made["an unknown critical chunk behind"] = rgb(after=(chunk(b"ABCD", b"x"),))
    made["a chunk with no name"] = rgb(chunk(b"\0\1\2\3", b"x"))
    made["a late chunk with no name"] = rgb(after=(chunk(b"\0\1\2\3", b"x"),))
    made["late transparency"] = rgb(after=(chunk(b"tRNS", struct.pack(">3H", *map(int, SAMPLES[5, 5]))),))
    made["two headers"] = rgb(chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 24, 8, RGB, 0, 0, 0)))
    indices = samples_of(PALETTE, 8, 24, 40)
    for entries in (1, 17, 200):
        made[f"indices beyond {entries} colours"] = file_of(indices, PALETTE, 8, before=[palette(entries)])
    made["a palette of half colours"] = file_of(indices, PALETTE, 8, before=[chunk(b"PLTE", bytes(100))])
    made["a palette of 300 colours"] = file_of(indices, PALETTE, 8, before=[palette(300)])
    made["two palettes"] = file_of(indices, PALETTE, 8, before=[palette(256), palette(256, seed=1)])
    made["more alphas than colours"] = file_of(
        samples_of(PALETTE, 2, 24, 40), PALETTE, 2, before=[palette(4), chunk(b"tRNS", bytes(9))]
    )
    made["alphas before colours"] = file_of(
        samples_of(PALETTE, 2, 24, 40), PALETTE, 2, before=[chunk(b"tRNS", bytes(2)), palette(4)]
    )
    made["no alphas"] = file_of(samples_of(PALETTE, 2, 24, 40), PALETTE, 2, before=[palette(4), chunk(b"tRNS", b"")])
    made["a palette of one bit with 256 colours"] = file_of(
        samples_of(PALETTE, 1, 24, 40), PALETTE, 1, before=[palette(256)]
    )
    for name, key in (("short", bytes(3)), ("long", bytes(8))):
        made[f"a {name} transparent colour"] = rgb(chunk(b"tRNS", key))
    for bits, colour in ((3, GRAY), (16, PALETTE), (8, 5), (4, RGB)):
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 24, bits, colour, 0, 0, 0))
        made[f"type {colour} of {bits} bits"] = whole[:8] + header + whole[33:]
    for place, name in ((10, "compression"), (11, "filter"), (12, "interlacing")):
        content = bytearray(whole[16:29])
        content[place] = 9
        made[f"unknown {name}"] = whole[:8] + chunk(b"IHDR", bytes(content)) + whole[33:]
    made["no width"] = whole[:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 24, 8, RGB, 0, 0, 0)) + whole[33:]
    return made


def pillows_own() -> dict[str, bytes]:
    """As Pillow writes them."""
    image = Image.fromarray(picture(24, 40))
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "t")
    info.add_itxt("Comment", "c", zip=True)
    made = {mode: encoded("PNG", image.convert(mode)) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")}
    made["texts by Pillow"] = encoded("PNG", image, pnginfo=info)
    made["few colours"] = encoded("PNG", image.quantize(5))
    made["gray of 16 bits"] = encoded("PNG", Image.fromarray(np.arange(960, dtype=np.uint16).reshape(24, 40) * 68))
    return made
