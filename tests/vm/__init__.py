"""The second lab: a router in a virtual machine, with the kernel of its Debian."""
