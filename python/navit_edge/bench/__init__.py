"""`navit-edge bench`: latency, throughput, stages and memory of an engine; several engines compared."""

from navit_edge.bench.compare import CompareReport, compare
from navit_edge.bench.measure import BenchOptions, Measurement, percentile
from navit_edge.bench.suite import BenchReport, bench

__all__ = ["BenchOptions", "BenchReport", "CompareReport", "Measurement", "bench", "compare", "percentile"]
