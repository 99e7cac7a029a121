"""The routes under /api/v1, by subject; each translates HTTP to the service's words and back."""
