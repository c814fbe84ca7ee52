"""The float32 reference of ``quantize`` and ``verify``: a bundle's graph in ONNX Runtime, on Polygraphy's runner.

``graph`` opens a graph and marks inner values as outputs, ``packs`` holds what goes in and cuts what comes out,
``reference`` runs images through a float32 graph, ``distance`` measures how far two outputs lie apart, and
``interchange`` writes inputs and outputs in Polygraphy's own JSON. Needs the extra ``verify`` or ``quantize``.
"""

from __future__ import annotations
