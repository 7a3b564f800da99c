"""What an operator watches: health, metrics for Prometheus, and a page of the server's own."""

from fedpersona.aggregation.ops.app import ops_app

__all__ = ["ops_app"]
