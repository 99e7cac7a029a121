"""The service on a server: a queue of searches, an API, and a page to watch them."""
