"""Commands about usage."""
