"""Counters and histograms that cost a few nanoseconds on the path of a request."""
