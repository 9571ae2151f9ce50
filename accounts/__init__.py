"""Who may call, and how much: users, teams, API keys, limits and budgets."""
