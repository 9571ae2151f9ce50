"""What was used, in the admin: requests, sums per day, exports, and what was set aside."""

from usage.admin import daily, exports, quarantine, records

__all__ = ["daily", "exports", "quarantine", "records"]
