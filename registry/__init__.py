"""What can be called: providers, their keys, served models, routes and prices."""
