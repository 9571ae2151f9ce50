"""What the apps share: no models, no app imported, nothing about LLMs but a token count."""
