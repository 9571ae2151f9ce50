"""Mail servers that a test may need."""

from smtplib import SMTPServerDisconnected

from django.core.mail.backends.base import BaseEmailBackend


class Away(BaseEmailBackend):
    """One that goes away, with words that are nobody's business."""

    def send_messages(self, messages):
        raise SMTPServerDisconnected("canary: the password of courier is wrong")
