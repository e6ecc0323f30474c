"""The suites: one file a section of the paper, one test a protocol and dataset."""
