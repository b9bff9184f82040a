"""A laboratory for routers: a really booted systemd between namespaces that play the internet.

`lab.world.Lab` is the place to start; README.md shows a first test.
"""
