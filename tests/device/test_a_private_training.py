"""A real device through whole trainings under noise, the server's and its own, with a crowd of invented others."""

from __future__ import annotations

import pytest

from fedpersona import Policy
from fedpersona.aggregation.protecting import protected
from fedpersona.privacy.gaussian import gaussian_epsilon
from fedpersona.simulation.local_federation import LocalFederation
from fedpersona.taste import Ease
from tests.device.servers import SERVER, crowd

EPSILON = 3.0


def private_federation(noise: str) -> LocalFederation:
    people = crowd()
    model, protection = protected(
        Ease(), people.catalogue, epsilon=EPSILON, delta=1e-6, noise=noise, people=len(people)
    )
    return LocalFederation(model, people, patience=3.0, protection=protection)


@pytest.mark.parametrize("noise", ["central", "distributed"])
def test_what_a_whole_training_costs_is_what_the_server_said_by_the_devices_own_account(device, noise):
    device.consent.grant("share_update", server=SERVER)
    device.policy = Policy(largest_epsilon=EPSILON + 0.01)
    with private_federation(noise).at(SERVER) as federation:
        device.join(SERVER, wait=20)
        sent = [entry for entry in device.ledger.tail(20) if entry.kind == "sent"]
        assert [entry.noise for entry in sent] == [noise, noise]
        assert device.ledger.spent().epsilon == pytest.approx(EPSILON, abs=1e-3)
        assert sent[0].of_life.epsilon == pytest.approx(gaussian_epsilon(1 / sent[0].noise_multiplier, 1e-6))
        assert len(device.playlist())

        federation.begin()
        device.join(SERVER, wait=20)  # a second training would pass the owner's limit
        reasons = [entry.reason for entry in device.ledger.tail(20) if entry.kind == "refused"]
        assert reasons
        assert all("largest_epsilon" in reason for reason in reasons)
        assert device.ledger.spent().epsilon == pytest.approx(EPSILON, abs=1e-3)
