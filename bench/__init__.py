"""Side-by-side benchmarks: every side in one run, interleaved, medians and spread, a table and JSON."""
