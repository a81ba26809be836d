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
_PATIENT = {"retry": {"attempts": 30, "initialInterval": "500ms"}}
"""While the hub starts anew, requests wait for it, for up to half a minute. Without, they are
answered with 502, which JupyterLab takes for the end of the kernels that people work with."""


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
    beyond = _beyond_the_hub(settings, rule)
    services = {"hub": {"loadBalancer": {"servers": [{"url": HUB}]}}}
    if not settings.ssl:
        # Something before this ends TLS, or the network is one's own.
        router = {
            "entryPoints": ["web"],
            "rule": rule,
            "service": "hub",
            "middlewares": ["plain", "patient"],
        }
        return {
            "http": {
                "routers": {"hub": router, **_labs(router, beyond)},
                "services": services,
                "middlewares": {
                    "plain": {"headers": _headers()},
                    "patient": _PATIENT,
                    **_own_origin(beyond),
                },
            }
        }
    secure = {
        "entryPoints": ["websecure"],
        "rule": rule,
        "service": "hub",
        "middlewares": ["secure", "patient"],
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
            "routers": {"hub": secure, **_labs(secure, beyond), "to-https": plain},
            "services": services,
            "middlewares": {
                "secure": {"headers": {**_headers(), **remembered}},
                "patient": _PATIENT,
                "to-https": {
                    "redirectScheme": {"scheme": "https", "port": port, "permanent": True}
                },
                **_own_origin(beyond),
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


def _beyond_the_hub(settings: Settings, rule: str) -> str:
    """Return the rule of what is not the hub's own; empty where that has other origins."""
    own = f"{settings.base_url}hub"
    return "" if settings.subdomains else f"({rule}) && !Path(`{own}`) && !PathPrefix(`{own}/`)"


def _labs(router: dict[str, Any], beyond: str) -> dict[str, Any]:
    if not beyond:
        return {}
    return {
        "labs": {**router, "rule": beyond, "middlewares": [*router["middlewares"], "own-origin"]}
    }


def _own_origin(beyond: str) -> dict[str, Any]:
    """Return what is taken from the answers of labs and tools that have the hub's origin.

    The first header would put a script of theirs before every page of the hub, the second would let
    their windows reach into the hub's (see ``familiar_hub.same_origin``).
    """
    taken = {"Service-Worker-Allowed": "", "Cross-Origin-Opener-Policy": ""}
    return {"own-origin": {"headers": {"customResponseHeaders": taken}}} if beyond else {}


def _headers() -> dict[str, Any]:
    return {
        "contentTypeNosniff": True,
        "referrerPolicy": "same-origin",
        # Which version of what answers is nobody's business.
        "customResponseHeaders": {"Server": ""},
    }
