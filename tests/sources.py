"""The product's own source files, for tests about the code itself."""

from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
PACKAGES = ("lib", "registry", "accounts", "usage", "gateway", "courier_site")


def modules():
    """Every module of the product but its migrations."""
    for package in PACKAGES:
        for path in sorted((CHECKOUT / package).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path
