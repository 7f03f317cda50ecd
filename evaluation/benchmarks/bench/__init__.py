"""This program beside what people would use instead: `python -m evaluation.benchmarks.bench`."""
