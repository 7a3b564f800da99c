"""The ServerApp that a SuperLink runs: one run of it is one training."""

from __future__ import annotations

from contextlib import suppress

from flwr.app import Context
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

__all__ = ["app", "nobody"]

app = ServerApp()

nobody = ClientApp()
"""A bundle has to name a ClientApp. This one does nothing: devices run their own code and never ask for a bundle."""


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train one model, from the last checkpoint on, by the server's configuration.

    A budget that is spent ends the run as a completed one: there is nothing to try again.
    """
    from fedpersona.aggregation.coordination import train
    from fedpersona.errors import BudgetSpent

    with suppress(BudgetSpent):
        train(str(context.run_config["server"]), grid)
