"""The parts of a machine that a test turns by hand: its clock and its keyring."""

from __future__ import annotations


class Wall:
    """The system's clock."""

    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


class Ring:
    """A keyring in memory."""

    priority = 5.0

    def __init__(self):
        self.kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]
