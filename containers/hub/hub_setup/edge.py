"""What Traefik does with a request: its dynamic configuration, made from the hub's settings. Pure.

Traefik watches the file: one that differs takes effect at once, so the file also names the
certificate that it was written for.
"""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from familiar_hub.settings import Settings

HUB = "http://hub:8000"
"""Where the hub's proxy is, on the network that Traefik shares with it."""
FOLDER = "/etc/traefik/dynamic"
"""Where Traefik sees the folder that this is written into."""
_REMEMBER = 180 * 86400
"""Seconds for which a browser comes by https without asking."""


def host_of(settings: Settings) -> str:
    """Return the host that people type; empty if the hub has no public address."""
    return urlsplit(settings.public_url).hostname or ""


def routing(settings: Settings, certificate: str) -> dict[str, Any]:
    """Return the dynamic configuration.

    Args:
        settings: the hub's.
        certificate: the name of the certificate's file without its ending; empty for no TLS.
    """
    rule = _rule(host_of(settings), settings.subdomains)
    services = {"hub": {"loadBalancer": {"servers": [{"url": HUB}]}}}
    if not settings.ssl:
        # Something before this ends TLS, or the network is one's own.
        router = {"entryPoints": ["web"], "rule": rule, "service": "hub", "middlewares": ["plain"]}
        return {
            "http": {
                "routers": {"hub": router},
                "services": services,
                "middlewares": {"plain": {"headers": _headers()}},
            }
        }
    secure = {
        "entryPoints": ["websecure"],
        "rule": rule,
        "service": "hub",
        "middlewares": ["secure"],
        "tls": {},
    }
    # Whoever comes without TLS is sent to the address that they should have typed.
    plain = {"entryPoints": ["web"], "rule": rule, "service": "hub", "middlewares": ["to-https"]}
    port = str(urlsplit(settings.public_url).port or 443)
    files = {
        "certFile": f"{FOLDER}/{certificate}.pem",
        "keyFile": f"{FOLDER}/{certificate}.key",
    }
    remembered = {"stsSeconds": _REMEMBER, "stsIncludeSubdomains": settings.subdomains}
    return {
        "http": {
            "routers": {"hub": secure, "to-https": plain},
            "services": services,
            "middlewares": {
                "secure": {"headers": {**_headers(), **remembered}},
                "to-https": {
                    "redirectScheme": {"scheme": "https", "port": port, "permanent": True}
                },
            },
        },
        "tls": {
            "certificates": [files],
            "stores": {"default": {"defaultCertificate": files}},
            "options": {"default": {"minVersion": "VersionTLS12"}},
        },
    }


def _rule(host: str, subdomains: bool) -> str:
    if not host:
        return "PathPrefix(`/`)"
    try:
        ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("idna").decode()
        below = name.replace(".", r"\.")
        rule = f"Host(`{name}`)"
        return rf"{rule} || HostRegexp(`^[a-z0-9_-]+\.{below}$`)" if subdomains else rule
    return f"Host(`[{host}]`) || Host(`{host}`)" if ":" in host else f"Host(`{host}`)"


def _headers() -> dict[str, Any]:
    return {
        "contentTypeNosniff": True,
        "referrerPolicy": "same-origin",
        # Which version of what answers is nobody's business.
        "customResponseHeaders": {"Server": ""},
    }
