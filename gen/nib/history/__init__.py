"""nib-history: what became of the uplinks, kept on disk; and what can be learnt from it.

A recorder writes down what the monitor tells.  It only listens: the monitor is the same with it and
without it.  Everything else here reads.
"""
