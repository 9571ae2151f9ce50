"""Wire formats. Pure: no Django, no network."""
