"""What all servers of a run have in common: tenant, upstream, certificate, requests."""

import base64
import json
import os
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

from .processes import Process, accepts, free_port, wait_until

HERE = Path(__file__).resolve().parent.parent
ROOT = HERE.parent.parent

#: What a client posts, about 400 bytes, which is what assistants send for most tool calls.
CALL = json.dumps(
    {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "tools/call",
        "params": {
            "name": "search_issues",
            "arguments": {
                "query": "is:open label:bug author:someone sort:updated-desc",
                "repository": "example/project",
                "page": 1,
                "per_page": 30,
                "include": ["title", "state", "labels", "assignees", "milestone", "comments"],
                "note": "words that make the call as long as calls are",
            },
        },
    }
)


class Programs:
    """Where the built programs are."""

    def __init__(self):
        target = os.environ.get("CARGO_TARGET_DIR")
        own = Path(target) if target else HERE / "programs" / "target"
        gateway = Path(target) if target else ROOT / "target"
        self.gateway = gateway / "release" / "mcp-gateway"
        self.noop, self.load, self.tenant, self.upstream = (
            own / "release" / name for name in ("noop", "load", "tenant", "upstream")
        )

    def build(self):
        """Builds them; the gateway as `make release` does."""
        cargo = ["cargo", "build", "--locked", "--release", "--quiet"]
        subprocess.run([*cargo, "--no-default-features"], cwd=ROOT, check=True)
        subprocess.run(cargo, cwd=HERE / "programs", check=True)


class Bed:
    """A tenant and an upstream, running, and a directory for everything that is written."""

    def __init__(self, programs, directory, tokens):
        self.programs, self.directory = programs, Path(directory)
        self.tenant_process = Process(
            [programs.tenant, directory, tokens],
            self.directory / "tenant.log",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.tenant = json.loads(self.tenant_process.child.stdout.readline())
        self.token, *self.fresh_tokens = self.tenant["tokens"]
        self.certificate = self.directory / "certificate.pem"
        self.key = self.directory / "key.pem"
        self.jwks = json.load(urllib.request.urlopen(self.tenant["jwks_uri"]))
        self.public_key = self.directory / "public.pem"
        self.public_key.write_text(public_key_pem(self.signing_key()))
        self.token_answer = {
            "token_type": "Bearer",
            "scope": "openid profile email",
            "expires_in": 3599,
            "ext_expires_in": 3599,
            "access_token": "for.another.audience" + "x" * 1200,
            "refresh_token": "1.A" + "r" * 700,
            "id_token": self.token,
        }
        answer = self.write("token-answer.json", json.dumps(self.token_answer))
        self.upstream_port = free_port()
        self.upstream = Process(
            [programs.upstream, f"0.0.0.0:{self.upstream_port}", answer],
            self.directory / "upstream.log",
        )
        wait_until(lambda: accepts(self.upstream_port), "the upstream does not listen")
        # Filled from the gateway's own answer, so that all answer the same.
        self.metadata_fields, self.metadata = [], ""

    def stop(self):
        self.upstream.stop()
        self.tenant_process.stop()

    def write(self, name, text):
        file = self.directory / name
        file.write_text(text)
        return file

    def script(self, name, requests):
        return self.write(f"script-{name}.json", json.dumps(requests))

    def seen(self):
        """What reached the upstream: how many requests, and the last one."""
        url = f"http://127.0.0.1:{self.upstream_port}/seen"
        return json.load(urllib.request.urlopen(url))

    def load(self, **plan):
        """Starts the load generator."""
        plan["script"] = str(plan["script"])
        plan["certificate"] = str(self.certificate)
        return subprocess.Popen(
            [self.programs.load, json.dumps(plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, port, protocol, script, connections=1, requests=1, do="requests", **more):
        """Sends requests and returns what the load generator says about the answers."""
        plan = {"connections": connections, "requests": requests, **more}
        address = f"127.0.0.1:{port}"
        load = self.load(do=do, address=address, protocol=protocol, script=script, **plan)
        told, _ = load.communicate(timeout=300)
        if load.returncode != 0:
            raise RuntimeError(f"the load on port {port} failed")
        return json.loads(told)

    def signing_key(self):
        head = self.token.split(".")[0]
        kid = json.loads(unbase64(head))["kid"]
        return next(key for key in self.jwks["keys"] if key["kid"] == kid)

    # Requests, as scripts have them.

    def get(self, path, token=None):
        fields = [["Accept", "text/event-stream"]]
        return {"method": "GET", "path": path, "fields": fields + bearer(token)}

    def call(self, token, session=None, path="/mcp"):
        fields = [
            ["Content-Type", "application/json"],
            ["Accept", "application/json, text/event-stream"],
            ["MCP-Protocol-Version", "2025-11-25"],
            *bearer(token),
        ]
        if session:
            fields.append(["Mcp-Session-Id", session])
        return {"method": "POST", "path": path, "fields": fields, "body": CALL}

    def authorize(self):
        query = {
            "client_id": self.tenant["client_id"],
            "response_type": "code",
            "redirect_uri": "http://localhost:33418/callback",
            "scope": "openid profile email offline_access",
            "state": "2f6a4e579a830d1c",
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
            "resource": "http://localhost/mcp",
            "prompt": "select_account",
        }
        return {"method": "GET", "path": "/oauth2/authorize?" + urlencode(query)}

    def exchange(self, path):
        form = {
            "grant_type": "authorization_code",
            "code": "1.A" + "c" * 700,
            "redirect_uri": "http://localhost:33418/callback",
            "client_id": self.tenant["client_id"],
            "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            "scope": "openid profile email offline_access",
            "resource": "http://localhost/mcp",
        }
        fields = [["Content-Type", "application/x-www-form-urlencoded"]]
        return {"method": "POST", "path": path, "fields": fields, "body": urlencode(form)}


def bearer(token):
    return [["Authorization", f"Bearer {token}"]] if token else []


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def public_key_pem(jwk):
    """Writes an RSA key of a JWKS as PEM (SubjectPublicKeyInfo, RFC 5280 §4.1)."""

    def der(tag, content):
        size = len(content)
        if size < 128:
            return bytes([tag, size]) + content
        length = size.to_bytes((size.bit_length() + 7) // 8, "big")
        return bytes([tag, 0x80 | len(length)]) + length + content

    def integer(text):
        number = unbase64(text)
        return der(0x02, (b"\0" if number[0] & 0x80 else b"") + number)

    rsa_encryption = bytes.fromhex("06092a864886f70d0101010500")
    key = der(0x30, integer(jwk["n"]) + integer(jwk["e"]))
    info = der(0x30, der(0x30, rsa_encryption) + der(0x03, b"\0" + key))
    lines = base64.encodebytes(info).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n"
