"""Who is hit by a change: shown before anything is taken from anybody, and asked for a yes."""
