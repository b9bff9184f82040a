"""Programs that run inside the lab's namespaces.

They use the standard library alone and are started as `python -S -m lab.agents.NAME REQUEST`, with
the request as JSON.  Each writes a JSON line per thing that happens and ends when its standard
input does; what the lines mean is worked out in `lab.traffic`.  Times are CLOCK_MONOTONIC, so they
can be compared with `time.monotonic()` of any other process of the machine.
"""
