"""What has to be true of a server before its figures count.

Each check asks the running server and, where it matters, what reached the upstream. It raises
`Dishonest` with a sentence, and the row is left out.
"""

import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

from .bed import CALL
from .server import METADATA


class Dishonest(Exception):
    """A server does not do what its row would say."""


def expect(found, wanted, what):
    if found != wanted:
        raise Dishonest(f"{what}: expected {str(wanted)[:120]!r}, found {str(found)[:120]!r}")


def ask(server, protocol, request):
    """Sends one request and returns the answer."""
    script = server.script("check", [request])
    return server.bed.send(server.port(protocol), protocol, script)["last"]


def field(answer, name):
    return next((value for key, value in answer["fields"] if key.lower() == name), None)


def open_session(server, protocol):
    """Calls without a session and returns the id that the answer gives."""
    answer = ask(server, protocol, server.bed.call(server.bed.token))
    expect(answer["status"], 200, "an opening call")
    return field(answer, "mcp-session-id")


def metadata(server, protocol):
    answer = ask(server, protocol, server.bed.get(METADATA))
    expect(answer["status"], 200, "metadata")
    expect(answer["body"], server.bed.metadata, "metadata")


def call(server, protocol):
    """A call arrives whole; without its own valid token it does not arrive."""
    bed = server.bed
    session = open_session(server, protocol)
    answer = ask(server, protocol, bed.call(bed.token, session))
    expect(answer["status"], 200, "a call")
    expect(len(answer["body"]) > 1200, True, "the answer is whole")
    seen = bed.seen()
    expect(seen["body"], CALL, "the call at the upstream")
    expect("4dd1fdd2-6e2c-4a0e-8a53-0c5ec7a9fd2e" in seen["head"], True, "the session at the upstream")
    if not server.verifies:
        return
    for what, token in [("a tampered token", bed.tenant["tampered"]), ("no token", None)]:
        refused(server, protocol, bed.call(token, session), 401, what)
    if server.name.startswith("gateway"):
        expect("4dd1fdd2" in session, False, "the session id is sealed")
        middle = len(session) // 2
        other = "A" if session[middle] != "A" else "B"
        forged = session[:middle] + other + session[middle + 1 :]
        refused(server, protocol, bed.call(bed.token, forged), 404, "a forged session")


def refused(server, protocol, request, status, what):
    before = server.bed.seen()["requests"]
    expect(ask(server, protocol, request)["status"], status, what)
    expect(server.bed.seen()["requests"], before, f"requests at the upstream after {what}")


def authorize(server, protocol):
    """Only `resource` and `prompt` are gone, and the browser goes to the tenant."""
    request = server.bed.authorize()
    answer = ask(server, protocol, request)
    expect(answer["status"] in (302, 303), True, "authorize redirects")
    target = urlsplit(field(answer, "location"))
    expect(target._replace(query="").geturl(), server.bed.tenant["authorize"], "authorize target")
    sent = dict(parse_qsl(urlsplit(request["path"]).query))
    kept = {name: value for name, value in sent.items() if name not in ("resource", "prompt")}
    expect(dict(parse_qsl(target.query)), kept, "parameters of authorize")


def exchange(server, protocol):
    """`resource` does not reach the provider, the rest does; the ID token comes back."""
    request = server.bed.exchange(server.token_path)
    answer = ask(server, protocol, request)
    expect(answer["status"], 200, "token exchange")
    told, provider = json.loads(answer["body"]), server.bed.token_answer
    expect(told["access_token"], provider["id_token"], "the token is the ID token")
    expect(told["refresh_token"], provider["refresh_token"], "the refresh token")
    expect(provider["access_token"] in answer["body"], False, "the provider's access token leaks")
    sent, seen = parse_qs(request["body"]), parse_qs(server.bed.seen()["body"])
    del sent["resource"]
    expect(seen, sent, "the form at the provider")


def events(server, protocol):
    if server.verifies:
        refused(server, protocol, server.bed.get("/mcp", server.bed.tenant["tampered"]), 401,
                "a stream with a tampered token")
