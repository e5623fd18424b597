"""Ways out of the cluster: HTTP webhooks, and chat and mail by way of apprise."""

from export_operator.adapters.notify.delivery import DeliveryError, Send
from export_operator.adapters.notify.messenger import Messenger
from export_operator.adapters.notify.webhook import Webhook

__all__ = ["DeliveryError", "Messenger", "Send", "Webhook"]
