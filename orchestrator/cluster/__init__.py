"""Ray's side of a run: resources, sessions, shared storage, and what dead processes leave behind."""
