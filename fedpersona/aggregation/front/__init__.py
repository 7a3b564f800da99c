"""The front: the one address that other machines reach. Devices' traffic, enrolment, the public pages."""
