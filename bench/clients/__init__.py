"""Libraries built on Lightning, each run once with Lightning and once with its names meaning ours."""
