"""Stand-ins for what is outside of Courier."""
