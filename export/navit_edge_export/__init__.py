"""Turns PyTorch vision transformers into engine bundles. Needs ``pip install "navit-edge[export]"``.

Importing this package imports neither torch nor onnx; the modules that need them do.
"""
