"""How the admin's templates write numbers."""
