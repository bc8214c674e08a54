"""Tests of the native runner, through its command line: a job file in, lines of JSON out."""
