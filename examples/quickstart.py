"""Runs images through the bundle that `make demo` left: python examples/quickstart.py"""

from pathlib import Path

import navit_edge as ne

session = ne.Session("demo/clipart.navit", device="auto")  # checks hashes, picks an engine
print(session.engine, "on", session.device)

images = sorted(Path("demo/images").glob("*.png"))  # or numpy uint8 [h, w, 3], or PIL images
results = session.run(images, on_error="return")  # one result per image, in input order

for path, result in zip(images, results, strict=True):
    if result.error is not None:  # a bad image fails alone
        print(path.name, result.error)
        continue
    rows, cols = result.grid  # the image was resized to rows * 16 by cols * 16 pixels
    (best,) = result.top_k(1)
    print(path.name, f"{rows}x{cols} patches in pack {result.pack}:", best.label or best.index, f"{best.score:.0%}")
    print("  embedding:", result.embedding.shape, result.embedding.dtype)  # read-only views

print(session.last_report["packs"][0])  # tokens, capacity and times of the first pass
