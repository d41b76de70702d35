"""A broker where everybody logs in, and its two users: one who may do all, and one who may not."""

import json

from brokers import Cauce

DEFINITIONS = {
    "users": [
        {"name": "guest", "password": "guest", "tags": "administrator"},
        {"name": "ana", "password": "ana's", "tags": ""},
    ],
    "vhosts": [{"name": "/"}],
    "permissions": [
        {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
        {"user": "ana", "vhost": "/", "configure": "", "write": "^shop[.]", "read": "^(shop[.]|ana-)"},
    ],
}


def strict_broker(home):
    """To be entered; it keeps everything in that directory."""
    (home / "definitions.json").write_text(json.dumps(DEFINITIONS))
    return Cauce(home, "--kafka-anonymous", "never", "--definitions", home / "definitions.json")
