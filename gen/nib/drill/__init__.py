"""`nib drill`: an uplink is really cut off for a while, and what became of connections is told."""

DRILL = """\
Cut UPLINK off for a while, as if its line had died beyond the modem, and tell how long it took
until that was noticed, until new connections, old ones and DNS worked again, and until the uplink
was back.  Its connections break, as they would then.  The cut ends by itself in the kernel,
whatever becomes of this program.  Needs root.
"""
