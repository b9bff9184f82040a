"""How targets are asked: one module for each kind, all of them without waiting on each other."""
