"""The pages of the hub's own accounts: sign in, sign up, approve, change a password.

NativeAuthenticator's templates with handlers of our own. Its sign-in fails on JupyterHub 6, and it
approves accounts by GET, which a link on any web page can send in an administrator's name.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyterhub.handlers import login
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import new_token
from nativeauthenticator import handlers as native
from tornado import web
from tornado.escape import url_escape
from tornado.httputil import url_concat

from . import known_browsers, passwords
from .audit import as_admin, record

_may_manage = needs_scope("admin:users")


class LoginPage(native.LoginHandler):
    """``/login``."""

    login_trouble = ""

    async def post(self) -> None:
        self.get_body_argument("username")
        # JupyterHub's, past NativeAuthenticator's, which uses what JupyterHub 6 has not.
        await login.LoginHandler.post(self)

    def _render(
        self, login_error: str | None = None, username: str | None = None, **more: Any
    ) -> Any:
        return self.render_template(
            "native-login.html",
            next=url_escape(self.get_argument("next", default="")),
            username=username,
            login_error=(login_error and self.login_trouble) or login_error,
            custom_html=self.authenticator.custom_html,
            login_url=self.settings["login_url"],
            enable_signup=self.authenticator.enable_signup,
            two_factor_auth=self.authenticator.allow_2fa,
            authenticator_login_url=url_concat(
                self.authenticator.login_url(self.hub.base_url),
                {"next": self.get_argument("next", "")},
            ),
            **more,
        )


class SignUpPage(native.SignUpHandler):
    """``/signup``."""

    async def post(self) -> None:
        accounts = self.authenticator
        if not accounts.enable_signup:
            raise web.HTTPError(404)
        name = accounts.normalize_username(self.get_body_argument("username", strip=True))
        trouble = await accounts.sign_up(
            name,
            self.get_body_argument("signup_password", strip=False),
            self.get_body_argument("signup_password_confirmation", strip=False),
        )
        if trouble:
            self.set_status(400)
        done = "Your account waits for an administrator's approval."
        self.finish(
            await self.render_template(
                "signup.html",
                result_message=trouble or done,
                alert="alert-danger" if trouble else "alert-info",
                ask_email=False,
                two_factor_auth=False,
                recaptcha_key="",
                tos="",
            )
        )


class _Posted(native.LocalBase):
    """A page that only a form's POST reaches."""

    audited = True

    async def get(self, name: str) -> None:
        self.set_header("Allow", "POST")
        raise web.HTTPError(405, "This is done with the button on the page of accounts.")

    def account(self, name: str) -> Any:
        """Return an account.

        Raises:
            tornado.web.HTTPError: 404: there is none of that name.
        """
        row = self.authenticator.get_user(name)
        if row is None:
            raise web.HTTPError(404, "There is no account of this name.")
        return row

    async def shut_out(self, name: str) -> None:
        """End somebody's sessions, tokens and labs."""
        user = self.find_user(name)
        if user is None:
            return
        user.orm_user.cookie_id = new_token()
        for token in list(user.orm_user.api_tokens):
            self.db.delete(token)
        self.db.commit()
        user._auth_refreshed = None
        await asyncio.gather(
            *(
                self.stop_single_user(user, spawner.name)
                for spawner in list(user.spawners.values())
                if spawner.active and not spawner.pending
            )
        )


class ApprovalPage(_Posted):
    """``/authorize/NAME``: ``approved=1`` lets somebody in, ``approved=0`` shuts them out."""

    @_may_manage
    async def post(self, name: str) -> None:
        row = self.account(name)
        wanted = self.get_body_argument("approved")
        if wanted not in ("0", "1"):
            raise web.HTTPError(400, "approved is 1 or 0.")
        if wanted == "0" and row.username in self.authenticator.admin_users:
            raise web.HTTPError(400, "The administrator's own account stays approved.")
        row.is_authorized = wanted == "1"
        self.db.commit()
        act = "account.approved" if wanted == "1" else "account.shut-out"
        record(act, by=self.current_user.name, admin=True, account=row.username)
        if wanted == "0":
            await self.shut_out(row.username)
        self.redirect(f"{self.hub.base_url}authorize#{url_escape(row.username, plus=False)}")


class DiscardPage(_Posted):
    """``/discard/NAME``: takes an account away that was not approved."""

    @_may_manage
    async def post(self, name: str) -> None:
        row = self.account(name)
        if row.is_authorized:
            raise web.HTTPError(400, "The account is approved; shut it out first.")
        account = row.username
        await self.shut_out(account)
        # What the hub knows of the person stays: their volumes are theirs if they come again.
        self.db.delete(row)
        self.db.commit()
        record("account.discarded", by=self.current_user.name, admin=True, account=account)
        self.redirect(f"{self.hub.base_url}authorize")


class PasswordPage(native.ChangePasswordHandler):
    """``/change-password``: one's own."""

    @web.authenticated
    async def post(self) -> None:
        user, accounts = self.current_user, self.authenticator
        row = accounts.get_user(user.name)
        if row is None:
            raise web.HTTPError(404, "You have no password here.")
        new = self.get_body_argument("new_password", strip=False)
        counted = known_browsers.counted_as(self, user.name)
        if accounts.lockout.locked(counted):
            trouble = "There were too many wrong passwords; try again later."
        else:
            accounts.lockout.attempted(counted)
            old = self.get_body_argument("old_password", strip=False)
            if not await asyncio.to_thread(passwords.fits, old, row.password):
                trouble = "The current password is another one; try again."
            else:
                accounts.lockout.succeeded(counted)
                trouble = _trouble(self, new)
        if not trouble:
            await accounts.set_password(user.name, new)
            # Whoever had the old one may be signed in.
            user.orm_user.cookie_id = new_token()
            self.db.commit()
            self.set_login_cookie(user)
            record("account.password", by=user.name, admin=as_admin(self), account=user.name)
        await _answer(self, "change-password.html", user.name, trouble)


class OthersPasswordPage(native.ChangePasswordAdminHandler):
    """``/change-password/NAME``: somebody else's, by an administrator."""

    @_may_manage
    async def post(self, user_name: str) -> None:
        row = self.authenticator.get_user(user_name)
        if row is None:
            raise web.HTTPError(404, "There is no account of this name.")
        new = self.get_body_argument("new_password", strip=False)
        trouble = _trouble(self, new)
        if not trouble:
            await self.authenticator.set_password(row.username, new)
            user = self.find_user(row.username)
            if user is not None and user.name != self.current_user.name:
                user.orm_user.cookie_id = new_token()
                self.db.commit()
            record("account.password", by=self.current_user.name, admin=True, account=row.username)
        await _answer(self, "change-password-admin.html", row.username, trouble)


def _trouble(handler: Any, new: str) -> str:
    if new != handler.get_body_argument("new_password_confirmation", strip=False):
        return "The two new passwords differ; try again."
    return str(handler.authenticator.trouble_with(new))


async def _answer(handler: Any, template: str, name: str, trouble: str) -> None:
    if trouble:
        handler.set_status(400)
    handler.finish(
        await handler.render_template(
            template,
            user_name=name,
            result_message=trouble or "The password is changed.",
            alert="alert-danger" if trouble else "alert-success",
        )
    )


_OURS = {
    r"/login": LoginPage,
    r"/signup": SignUpPage,
    r"/authorize/([^/]*)": ApprovalPage,
    r"/discard/([^/]*)": DiscardPage,
    r"/change-password": PasswordPage,
    r"/change-password/([^/]+)": OthersPasswordPage,
}
_GONE = {r"/confirm/([^/]*)"}
"""It approves by GET, for addresses in mails that this hub does not send."""


def instead_of(handlers: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return NativeAuthenticator's pages with ours in their places.

    Raises:
        RuntimeError: one of them is not there: this release has others, and may let in by them.
    """
    found = {handler[0] for handler in handlers}
    if missing := sorted(_OURS.keys() - found):
        raise RuntimeError(
            f"This release of NativeAuthenticator has no page {missing[0]}; install 1.3."
        )
    return [
        (handler[0], _OURS.get(handler[0], handler[1]), *handler[2:])
        for handler in handlers
        if handler[0] not in _GONE
    ]
