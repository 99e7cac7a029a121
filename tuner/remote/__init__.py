"""The laptop's side of the service: known servers, and talking to one."""
