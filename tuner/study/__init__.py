"""A study: the protocol's stages as ordinary runs under one frozen, digested file."""
