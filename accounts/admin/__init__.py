"""What people see of it in the admin."""

from accounts.admin import budgets, keys, limits, plans, teams, users

__all__ = ["budgets", "keys", "limits", "plans", "teams", "users"]
