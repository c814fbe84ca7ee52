"""The parts of benchmarks/accuracy.py: the sample, the pixels, the evaluations, what they found, the page."""
