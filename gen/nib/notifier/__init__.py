"""nib-notify: the administrator's programs, mail and a webhook, when uplinks come and go.

`core` decides and is pure; `telling` puts it into words for people and programs; `daemon` is the
edge.  It only listens to the monitor, so nothing here can delay a flip.
"""
