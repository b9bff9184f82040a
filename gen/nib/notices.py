"""The part of nib-notify: whom to tell of uplinks that come and go."""

from dataclasses import dataclass

MAIL_SOCKET = "/run/nib-mail.sock"
"""Who writes a mail here has it sent, to the one address of the plan."""

MAIL_USER = "nib-mail"
"""Whom sendmail is run as: not nib-notify, whose programs can never get privileges."""


@dataclass(frozen=True, slots=True)
class Notices:
    """Who is told; times in milliseconds.

    `mail` is an address or the name of a user here; `webhook_file` is where the URL is, which is a
    secret and so never in the plan.  An uplink is down for long after `long_down_ms`; each hook may
    take `hook_timeout_ms`.
    """

    mail: str | None
    webhook_file: str | None
    long_down_ms: int
    hook_timeout_ms: int
