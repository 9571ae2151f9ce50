"""Kinds of upstream: where, how signed, what their errors mean. Pure: no Django, no network."""
