"""How good monitors are: a run's own, or every score compared by a protocol.

::

    benchmark(store, monitors)                          own monitors on the test split --> Benchmark
    leaderboard(stores, ...)  stores --Cut--> folds --> kept curves --> Evaluation --> figures --> Leaderboard
"""

from workbench.benchmarking.comparison import leaderboard
from workbench.benchmarking.figures import Figure
from workbench.benchmarking.leaderboard import Leaderboard, MonitorRow
from workbench.benchmarking.own import Benchmark, BenchmarkRow, benchmark

__all__ = ["Benchmark", "BenchmarkRow", "Figure", "Leaderboard", "MonitorRow", "benchmark", "leaderboard"]
