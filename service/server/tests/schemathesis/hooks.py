"""Who asks, and what is put right after a request that ended a credential.

Schemathesis makes requests up. Some of them end the credential that they were sent with: that is what they are for. So
each request gets one that works: a token or a session of the owner's, or the gateway's. The environment says where
the service is (COUNTERFOIL), what its public URL is (COUNTERFOIL_PUBLIC_URL), and what `init --json` printed
(COUNTERFOIL_MADE). Where nobody else keeps the machine busy (COUNTERFOIL_ALONE), nothing is asked twice.
"""

import base64
import itertools
import json
import os
import time
import uuid
from datetime import datetime

import requests
import schemathesis
from hypothesis import strategies
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import TestPhase

HERE = os.environ["COUNTERFOIL"]
PUBLIC_URL = os.environ["COUNTERFOIL_PUBLIC_URL"]
MADE = json.loads(os.environ["COUNTERFOIL_MADE"])
TRIES = 1 if os.environ["COUNTERFOIL_ALONE"] else 100
COOKIE = "__Host-counterfoil_session"
# Fewer than a user may have, so that there is room for those that are made up.
MOST_TOKENS = 40
# Fewer than a user may have: with the next one the oldest ends.
MOST_SESSIONS = 90


class Owner:
    """The owner's credentials, made anew when they were ended."""

    def __init__(self):
        self.password = MADE["owner"]["password"]
        self.cookie = None
        self.plaintext = self.id = None
        self.issued = self.sessions = 0

    def session(self):
        """A session's cookie, and what a browser sends with it."""
        if self.cookie is None or self.sessions > MOST_SESSIONS:
            self.sessions = 0
            signed_in = self.ask("POST", "/v1/session", json=self.sign_in())
            self.cookie = signed_in.cookies[COOKIE]
        return {"Cookie": f"{COOKIE}={self.cookie}", "Origin": PUBLIC_URL}

    def sign_in(self):
        return {"email": MADE["owner"]["email"], "password": self.password}

    def token(self):
        """A token that may do everything."""
        if self.issued > MOST_TOKENS:
            self.ask("DELETE", "/v1/user/tokens", headers=self.session())
            self.plaintext, self.issued = None, 0
        if self.plaintext is None:
            issued = self.ask("POST", "/v1/user/tokens", headers=self.session(), json={})
            self.id, self.plaintext = issued.json()["id"], issued.json()["plaintext"]
            self.issued += 1
        return self.plaintext

    def thing(self, path):
        """The id of a new token, or gateway, for a path that is about one."""
        self.token()
        made = self.ask("POST", path, headers=self.session(), json={"name": "made up"} if "gateways" in path else {})
        self.issued += "gateways" not in path
        return made.json()["id"]

    def changed_password(self, new):
        """Sets the password back."""
        self.cookie = None
        before, self.password = self.password, new
        passwords = {"current_password": new, "new_password": before}
        self.ask("PUT", "/v1/user/password", headers=self.session(), json=passwords)
        self.password = before

    def ask(self, method, path, **more):
        for _ in range(TRIES):
            response = requests.request(method, HERE + path, timeout=10, **more)
            if response.status_code != 503:
                break
            time.sleep(0.1)
        response.raise_for_status()
        return response


owner = Owner()
# Each way to send the owner's credential gets its turn.
ways = itertools.cycle(["bearer", "session", "api_key", "api_key_cookie"])


def basic():
    pair = f"{MADE['gateway']['client_id']}:{MADE['gateway']['client_secret']}"
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


@schemathesis.auth(refresh_interval=None)
class Credential:
    """A credential that the operation takes."""

    def get(self, case, ctx):
        requirements = ctx.operation.definition.raw.get("security", [])
        schemes = [scheme for requirement in requirements for scheme in requirement]
        if not schemes or {} in requirements:
            return {}
        if "gateway_basic" in schemes:
            return basic()
        way = next(way for way in ways if way in schemes)
        if way == "session":
            return owner.session()
        if way == "bearer":
            return {"Authorization": f"Bearer {owner.token()}"}
        if way == "api_key_cookie":
            return {"Cookie": f"X-API-KEY={owner.token()}"}
        return {"X-API-KEY": owner.token()}

    def set(self, case, data, ctx):
        for name in [name for name in case.headers if name.lower() in ("authorization", "x-api-key", "cookie")]:
            del case.headers[name]
        case.headers.update(data)


def is_id(text):
    try:
        return isinstance(text, str) and len(text) == 36 and bool(uuid.UUID(text))
    except ValueError:
        return False


@schemathesis.hook
def before_call(ctx, case, kwargs):
    """What the schema cannot say: which organization and which things there are, which password is right, which cursor
    belongs to a list.

    Made-up ones would be refused for that, and nothing else of the request would be looked at.
    """
    made_up = case.headers.get("Authorization", "Bearer").partition(" ")[0] not in ("Bearer", "Basic")
    if made_up or {"Authorization", "X-API-KEY"} <= case.headers.keys():
        # What is no credential, and two at once, are refused before anything else is looked at.
        case.headers.pop("X-API-KEY", None)
        case.headers["Authorization"] = "Bearer made_up"
    if is_id(case.headers.get("X-Organization")):
        case.headers["X-Organization"] = MADE["organization"]["id"]
    if case.meta is None:
        return
    # Along the links, what a path is about is there. Elsewhere it has to be made, where it would be changed.
    about = case.operation.path.partition("/{id}")[0]
    is_made_up = case.meta.phase.name != TestPhase.STATEFUL and is_id((case.path_parameters or {}).get("id"))
    if is_made_up and case.method in ("GET", "PATCH", "POST"):
        case.path_parameters["id"] = owner.thing(about)
    if case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.query:
        case.query.pop("cursor", None)
    if not isinstance(case.body, dict):
        return
    if case.operation.definition.raw["operationId"] == "change_password":
        case.body["current_password"] = owner.password
    if case.operation.definition.raw["operationId"] == "sign_in":
        case.body.update(owner.sign_in())
        case.body.pop("organization", None)


ENDS_SESSIONS = {"end_all_sessions", "revoke_all_tokens", "sign_out"}
ENDS_TOKENS = {"revoke_all_tokens", "rotate_this_token"}
ENDS_ONE_TOKEN = {"change_token", "disable_token", "revoke_token", "rotate_token"}


@schemathesis.hook
def after_call(ctx, case, response):
    """Forgets credentials that may have ended."""
    operation = case.operation.definition.raw["operationId"]
    if response.status_code >= 300:
        return
    if operation == "issue_token":
        owner.issued += 1
    if operation == "sign_in":
        owner.sessions += 1
    if operation == "change_password":
        owner.changed_password(case.body["new_password"])
    if operation in ENDS_SESSIONS:
        owner.cookie = None
    if operation in ENDS_TOKENS or operation in ENDS_ONE_TOKEN and case.path_parameters["id"] == owner.id:
        owner.plaintext = None


@schemathesis.check
def the_type_is_named(ctx, response, case):
    """A refusal's type is one of those that the document gives an example of."""
    if response.status_code < 400 or not response.headers.get("content-type", [""])[0].startswith("application/"):
        return
    said = case.operation.schema.raw_schema
    refusal = case.operation.definition.raw["responses"].get(str(response.status_code))
    if refusal is None:
        return
    if "$ref" in refusal:
        refusal = said["components"]["responses"][refusal["$ref"].rsplit("/", 1)[1]]
    document = response.json()
    name = document.get("error") or document["type"].rsplit("/", 1)[1]
    named = {name for content in refusal["content"].values() for name in content["examples"]}
    assert name in named, f"{name} is not among {sorted(named)}"


@schemathesis.check
class EveryOperationSucceeds:
    """What was refused every time was not tried."""

    def __init__(self):
        self.tried, self.succeeded = set(), set()

    def after_response(self, ctx, response, case):
        self.tried.add(case.operation.label)
        if response.status_code < 300:
            self.succeeded.add(case.operation.label)

    def after_run(self, ctx):
        never = self.tried - self.succeeded
        assert not never, f"never succeeded: {sorted(never)}"


# An expiry in the past is refused, and the schema cannot say so.
schemathesis.openapi.format(
    "date-time",
    strategies.datetimes(min_value=datetime(2090, 1, 1)).map(lambda when: when.isoformat() + "Z"),
)
