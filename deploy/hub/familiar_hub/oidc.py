"""Who may come in, where a provider knows the people: oauthenticator with the platform's pages."""

from __future__ import annotations

from oauthenticator.generic import GenericOAuthenticator

from .accounts import PlatformPages


class HubOidc(PlatformPages, GenericOAuthenticator):
    """People sign in with the provider; whom it lets in is configured."""
