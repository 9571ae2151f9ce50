"""What Courier itself reads of each request body. Everything else travels on untouched."""
