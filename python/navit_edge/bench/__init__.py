"""`navit-edge bench`: latency, throughput, stages and memory of an engine, per pack size and end to end."""

from navit_edge.bench.calibration import Calibration, calibrate
from navit_edge.bench.measure import BenchOptions, Measurement, percentile
from navit_edge.bench.suite import BenchReport, bench

__all__ = ["BenchOptions", "BenchReport", "Calibration", "Measurement", "bench", "calibrate", "percentile"]
