"""What people see of it in the admin."""
