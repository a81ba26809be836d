"""Who may come in: the hub's own accounts.

NativeAuthenticator keeps them; here it is mended for JupyterHub 6, and made safe to leave open.
Nobody comes in without an administrator's approval, and the administrator's name is nobody's to
take: that account is made from a secret file. What changes an account needs a POST with the page's
own token. Who loses their approval is out at once, with their sessions, tokens and labs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.utils import maybe_future
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.orm import UserInfo
from tornado import web
from tornado.httpserver import HTTPServer
from traitlets import Bool, Int, Unicode

from . import account_pages, known_browsers, passwords
from .audit import record
from .variables import read_secret

LARGEST_REQUEST = 1 << 20
"""Bytes of what is sent to the hub itself, such as a form; what goes to labs it does not see."""


class PlatformPages(Authenticator):
    """Adds the platform's own pages to those of an authenticator."""

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        """Return the pages; the hub asks once, when it starts."""
        # Here, since they import much of the hub.
        from .handlers import HANDLERS

        # The hub makes its server after this. A request's body lies in its memory as a whole,
        # also a stranger's, and JupyterHub has no setting for how long it may be.
        HTTPServer.configure(None, max_body_size=LARGEST_REQUEST)
        return [*super().get_handlers(app), *HANDLERS]

    async def delete_user(self, user: Any) -> None:
        """Stop all labs of somebody who is about to be deleted; the hub calls it.

        JupyterHub stops the first lab only, and fails at the others when half of the person is
        gone.

        Raises:
            tornado.web.HTTPError: 400: one of them is starting or stopping just now.
        """
        active = [spawner for spawner in user.spawners.values() if spawner.active]
        for spawner in active:
            if spawner.pending:
                raise web.HTTPError(
                    400,
                    "%s",
                    f"A lab of {user.name} is pending ({spawner.pending}); wait for that.",
                )
        for spawner in active:
            await user.settings["proxy"].delete_user(user, spawner.name)
            await user.stop(spawner.name)
        await maybe_future(super().delete_user(user))


class HubAccounts(PlatformPages, NativeAuthenticator):
    """Accounts with a name and a password, which an administrator approves."""

    admin_password_file = Unicode("", help="The administrator's first password.").tag(config=True)
    names_rule = Unicode("", help="What a name must be like, in words.").tag(config=True)
    admin_password_reset = Bool(False, help="Whether it holds again.").tag(config=True)
    pending_limit = Int(100, help="How many accounts may wait for approval.").tag(config=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lockout = passwords.Lockout(self.allowed_failed_logins, self.seconds_before_next_try)
        self._seed_admins()

    def _seed_admins(self) -> None:
        """Make the administrator's account, or approve it.

        An account of that name that was never approved is somebody else's: it was asked for before
        the name became the administrator's. Its password goes.
        """
        if not self.admin_password_file:
            return
        for name in self.admin_users:
            row = self.get_user(name)
            if row is not None and row.is_authorized and not self.admin_password_reset:
                continue
            stored = passwords.encoded(read_secret(Path(self.admin_password_file)))
            if row is None:
                row = UserInfo(username=name)
                self.db.add(row)
            row.password = stored
            row.is_authorized = True
            row.has_2fa = False
            self.db.commit()
            record("account.seeded", by="the hub", admin=True, account=name)

    async def authenticate(self, handler: Any, data: dict[str, str]) -> str | None:
        """Return the name of who signs in, or None; the hub calls it for each attempt.

        Args:
            handler: the request's; ``login_trouble`` is set on it to what the person should know.
            data: the form's fields.
        """
        name: str = self.normalize_username(data.get("username", ""))
        if not self.validate_username(name):
            # Nobody can have it. Counting it would let strangers fill the hub's memory with names.
            await asyncio.to_thread(passwords.fits, data.get("password", ""), passwords.NOBODYS)
            return None
        counted = known_browsers.counted_as(handler, name)
        if self.lockout.locked(counted):
            handler.login_trouble = (
                "There were too many wrong passwords for this name; try again in"
                f" {-(-self.seconds_before_next_try // 60)} minutes."
            )
            return None
        self.lockout.attempted(counted)
        row = self.get_user(name)
        stored = passwords.NOBODYS if row is None else row.password
        fits = await asyncio.to_thread(passwords.fits, data.get("password", ""), stored)
        if row is None or not fits or (row.has_2fa and not row.is_valid_token(data.get("2fa", ""))):
            if self.lockout.locked(counted):
                record("account.locked", by=name, admin=False, address=handler.request.remote_ip)
            return None
        self.lockout.succeeded(counted)
        if not row.is_authorized:
            handler.login_trouble = "Your account waits for an administrator's approval."
            return None
        known_browsers.remember(handler, name)
        return name

    async def refresh_user(self, user: Any, handler: Any = None) -> bool:
        """Say whether somebody who is signed in may stay; the hub asks from time to time."""
        row = self.get_user(user.name)
        return row is not None and bool(row.is_authorized)

    async def sign_up(self, name: str, password: str, confirmation: str) -> str:
        """Note that somebody wants an account.

        Returns:
            What is wrong, as a sentence; empty if the account now waits for approval.
        """
        if not self.validate_username(name):
            return f"This name cannot be used: {self.names_rule}."
        if password != confirmation:
            return "The two passwords differ; try again."
        if trouble := self.trouble_with(password):
            return trouble
        if self._waiting() >= self.pending_limit:
            return "Too many accounts wait for approval; ask an administrator."
        if self._is_taken(name):
            return "This name is taken; choose another."
        stored = await asyncio.to_thread(passwords.encoded, password)
        # Others ran meanwhile.
        if self._is_taken(name):
            return "This name is taken; choose another."
        self.db.add(UserInfo(username=name, password=stored, is_authorized=False))
        self.db.commit()
        record("account.asked", by=name, admin=False)
        return ""

    def _waiting(self) -> int:
        waiting = self.db.query(UserInfo).filter(UserInfo.is_authorized.is_not(True))
        return int(waiting.count())

    def _is_taken(self, name: str) -> bool:
        return name in self.admin_users or self.user_exists(name)

    def trouble_with(self, password: str) -> str:
        """Return what is wrong with a new password, as a sentence; empty if nothing is."""
        if trouble := passwords.trouble_with(password, self.minimum_password_length):
            return trouble
        if self.is_password_common(password):
            return "Many people use this password, and it is tried first; choose another."
        return ""

    async def set_password(self, name: str, password: str) -> None:
        """Give an account a new password, which is known to be good."""
        stored = await asyncio.to_thread(passwords.encoded, password)
        if row := self.get_user(name):
            row.password = stored
            self.db.commit()
            self.lockout.succeeded(name)

    def create_user(self, username: str, password: str, **kwargs: Any) -> None:
        """Refuse: NativeAuthenticator's own would approve whoever signs up as an administrator."""
        raise NotImplementedError("accounts are made by sign_up")

    def get_handlers(self, app: Any) -> list[tuple[Any, ...]]:
        """Return the pages: those of accounts, mended, and the platform's."""
        return account_pages.instead_of(super().get_handlers(app))
