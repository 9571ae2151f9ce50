"""What people see of it in the admin."""

from accounts.admin import keys, limits, teams, users

__all__ = ["keys", "limits", "teams", "users"]
