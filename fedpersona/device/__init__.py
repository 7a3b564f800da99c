"""The left of the wall: what runs on a person's own device, next to their history."""
