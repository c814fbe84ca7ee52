"""Training, as NaViT is trained (docs/training.md): one idea a module, usable without the loop that ties them together.

Every random draw comes from a generator of its own, keyed by the seed and by what is drawn (randomness.py): what step k
does depends on nothing that happened before it, so a run resumes exactly, with any number of worker processes.
"""
