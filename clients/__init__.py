"""Programs that run on a person's own device, made of the library ``fedpersona``. They are not in its wheel."""
