"""The servers that are compared: how each is configured and started.

Every server has one worker thread and no access log, and listens, plain and with TLS, on loopback
where it can be told to. All answer the same paths: `/.well-known/…` from memory, `/mcp` through the
upstream.
"""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from .bed import HERE
from .processes import Process, accepts, free_port, wait_until
from .server import Server


class Nginx(Server):
    name, title = "nginx", "nginx"

    def arguments(self, directory):
        bed = self.bed
        metadata = bed.metadata.replace("'", "\\'")
        user = "user root;" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(f"""
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log {directory}/error.log error;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream workload {{
        server 127.0.0.1:{bed.upstream_port};
        keepalive 256;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{self.plain};
        listen 127.0.0.1:{self.tls} ssl http2;
        ssl_certificate {bed.certificate};
        ssl_certificate_key {bed.key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_session_cache shared:tls:10m;
        location /.well-known/ {{
            default_type application/json;
            return 200 '{metadata}';
        }}
        location /mcp {{
            proxy_pass http://workload;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
""")
        return [self.program(), "-p", directory, "-e", directory / "error.log",
                "-c", directory / "nginx.conf"]


class HaProxy(Server):
    name, title, verifies = "haproxy", "HAProxy, `jwt_verify`", True
    stop_signal = signal.SIGUSR1

    def arguments(self, directory):
        bed = self.bed
        metadata = bed.write("metadata.json", bed.metadata)
        (directory / "haproxy.cfg").write_text(f"""
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    option http-no-delay
    timeout connect 5s
    timeout client 1h
    timeout server 1h
frontend edge
    bind 127.0.0.1:{self.plain}
    bind 127.0.0.1:{self.tls} ssl crt {bed.directory}/both.pem alpn h2,http/1.1
    http-request return status 200 content-type application/json file {metadata} if {{ path_beg /.well-known/ }}
    http-request set-var(txn.bearer) http_auth_bearer
    http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify("RS256","{bed.public_key}") 1 }}
    default_backend workload
backend workload
    http-reuse always
    server workload 127.0.0.1:{bed.upstream_port}
""")
        return [self.program(), "-db", "-f", directory / "haproxy.cfg"]


class Envoy(Server):
    name, title, verifies = "envoy", "Envoy, `jwt_authn`", True

    def program(self):
        wheel = sorted((HERE / ".venv").glob("lib/python*/site-packages/envoy*/**/envoy"))
        real = [file for file in wheel if file.is_file() and file.stat().st_size > 1_000_000]
        return real[0] if real else super().program()

    def arguments(self, directory):
        configuration = directory / "envoy.json"
        configuration.write_text(json.dumps(self.configuration()))
        return [self.program(), "--concurrency", "1", "--disable-hot-restart",
                "--log-level", "error", "-c", configuration]

    def configuration(self):
        bed, api = self.bed, "type.googleapis.com/envoy.extensions"
        manager = {
            "@type": f"{api}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "edge",
            "stream_idle_timeout": "0s",
            "route_config": {"virtual_hosts": [{"name": "edge", "domains": ["*"], "routes": [
                {
                    "match": {"prefix": "/.well-known/"},
                    "direct_response": {"status": 200, "body": {"inline_string": bed.metadata}},
                    "response_headers_to_add": [{
                        "header": {"key": "content-type", "value": "application/json"},
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }],
                },
                {"match": {"prefix": "/mcp"}, "route": {"cluster": "workload", "timeout": "0s"}},
            ]}]},
            "http_filters": [
                {"name": "jwt", "typed_config": {
                    "@type": f"{api}.filters.http.jwt_authn.v3.JwtAuthentication",
                    "providers": {"entra": {
                        "issuer": bed.tenant["issuer"],
                        "audiences": [bed.tenant["client_id"]],
                        "forward": True,
                        "local_jwks": {"inline_string": json.dumps(bed.jwks)},
                        "jwt_cache_config": {"jwt_cache_size": 1000},
                    }},
                    "rules": [{
                        "match": {"prefix": "/mcp"},
                        "requires": {"provider_name": "entra"},
                    }],
                }},
                {"name": "router", "typed_config": {
                    "@type": f"{api}.filters.http.router.v3.Router",
                }},
            ],
        }
        tls = {
            "@type": f"{api}.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
                "tls_certificates": [{
                    "certificate_chain": {"filename": str(bed.certificate)},
                    "private_key": {"filename": str(bed.key)},
                }],
            },
        }

        def listener(name, port, socket):
            chain = {"filters": [{"name": "http", "typed_config": manager}], **socket}
            return {"name": name, "address": address(port), "filter_chains": [chain]}

        def address(port):
            return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

        endpoint = {"endpoint": {"address": address(bed.upstream_port)}}
        return {"static_resources": {
            "listeners": [
                listener("plain", self.plain, {}),
                listener("tls", self.tls, {
                    "transport_socket": {"name": "tls", "typed_config": tls},
                }),
            ],
            "clusters": [{
                "name": "workload",
                "type": "STATIC",
                "load_assignment": {
                    "cluster_name": "workload",
                    "endpoints": [{"lb_endpoints": [endpoint]}],
                },
            }],
        }}


class Agentgateway(Server):
    """An MCP gateway in Rust, here with a plain backend: it forwards, and reads no JSON-RPC."""

    name, title, verifies = "agentgateway", "agentgateway, `jwtAuth`", True
    # It samples its own allocations; without that it is cheaper.
    environment = {"PPROF_ALLOC_SAMPLE_RATE": "0"}

    def program(self):
        found = shutil.which(os.environ.get("AGENTGATEWAY") or self.name)
        return Path(found).absolute() if found else None

    def arguments(self, directory):
        file = directory / "agentgateway.json"
        file.write_text(json.dumps(self.configuration()))
        return [self.program(), "-f", file]

    def configuration(self):
        bed = self.bed
        routes = [
            {
                "matches": [{"path": {"pathPrefix": "/.well-known/"}}],
                "policies": {
                    "directResponse": {"status": 200, "body": bed.metadata},
                    "responseHeaderModifier": {"set": {"content-type": "application/json"}},
                },
            },
            {
                "matches": [{"path": {"pathPrefix": "/mcp"}}],
                "policies": {"jwtAuth": {
                    "mode": "strict",
                    "issuer": bed.tenant["issuer"],
                    "audiences": [bed.tenant["client_id"]],
                    "jwks": json.dumps(bed.jwks),
                }},
                "backends": [{
                    "host": f"127.0.0.1:{bed.upstream_port}",
                    # It takes the token away; the others forward it.
                    "policies": {"backendAuth": {"passthrough": {}}},
                }],
            },
        ]
        pair = {"cert": str(bed.certificate), "key": str(bed.key)}
        return {
            "config": {
                "workerThreads": 1,
                # An access log is written at `info`.
                "logging": {"level": "error"},
                # It listens on every address, and can only be told the port.
                "enableIpv6": False,
                "adminAddr": "127.0.0.1:0",
                "statsAddr": "127.0.0.1:0",
                "readinessAddr": "127.0.0.1:0",
            },
            "binds": [
                {"port": self.plain, "listeners": [{"protocol": "HTTP", "routes": routes}]},
                {"port": self.tls, "listeners": [
                    {"protocol": "HTTPS", "tls": pair, "routes": routes},
                ]},
            ],
        }


class OldStack(Server):
    """Caddy with two Python proxies, which is what the gateway replaces."""

    name, title = "caddy", "Caddy with two Python proxies"
    environment = {"GOMAXPROCS": "1"}
    proxies = ()

    def before(self, directory):
        for process in self.proxies:
            process.stop()
        authorize, token = self.ports
        idp = f"http://127.0.0.1:{self.bed.upstream_port}/token"
        self.proxies = [
            Process([sys.executable, HERE / "old_stack" / "authorize_proxy.py", authorize,
                     self.bed.tenant["authorize"]], directory / "authorize.log"),
            Process([sys.executable, HERE / "old_stack" / "token_proxy.py", token, idp],
                    directory / "token.log"),
        ]
        wait_until(lambda: all(map(accepts, self.ports)), "the Python proxies do not listen")

    def arguments(self, directory):
        bed = self.bed
        self.ports = free_port(), free_port()
        authorize, token = self.ports
        self.environment = {**self.environment, "HOME": str(directory)}
        (directory / "Caddyfile").write_text(f"""
{{
    admin off
    auto_https off
    storage file_system {directory}/storage
}}
(edge) {{
    bind 127.0.0.1
    handle /.well-known/* {{
        header Content-Type application/json
        respond `{bed.metadata}` 200
    }}
    handle /oauth2/authorize {{
        reverse_proxy 127.0.0.1:{authorize}
    }}
    handle /oauth2/token {{
        reverse_proxy 127.0.0.1:{token}
    }}
    handle /mcp {{
        reverse_proxy 127.0.0.1:{bed.upstream_port} {{
            flush_interval -1
        }}
    }}
}}
http://localhost:{self.plain} {{
    import edge
}}
https://localhost:{self.tls} {{
    tls {bed.certificate} {bed.key}
    import edge
}}
""")
        return [self.program(), "run", "--adapter", "caddyfile", "--config",
                directory / "Caddyfile"]

    def processes(self):
        return [self.process, *self.proxies]

    def stop(self, orderly=False):
        super().stop(orderly)
        for process in self.proxies:
            process.stop()
        self.proxies = ()


class Noop(Server):
    name, title = "noop", "Pingora no-op"
    # Pingora's SIGTERM waits for minutes.
    stop_signal = signal.SIGINT

    def program(self):
        return self.bed.programs.noop

    def arguments(self, directory):
        bed = self.bed
        fields = "".join(f"{name}: {value}\n" for name, value in bed.metadata_fields)
        answer = directory / "answer"
        answer.write_text(f"{fields}\n{bed.metadata}")
        return [self.program(), f"127.0.0.1:{self.plain}", f"127.0.0.1:{self.tls}",
                bed.certificate, bed.key, f"127.0.0.1:{bed.upstream_port}", answer]


class Gateway(Server):
    name, title, verifies = "gateway", "mcp-gateway", True
    token_path = "/bench/token"
    environment = {"TOKIO_WORKER_THREADS": "1"}
    access_log = "off"

    def program(self):
        return self.bed.programs.gateway

    def arguments(self, directory):
        # JSON is YAML.
        file = directory / "gateway.yaml"
        file.write_text(json.dumps(self.configuration(directory)))
        return [self.program(), "run", "-c", file]

    def configuration(self, directory):
        bed = self.bed
        pair = {"certificate": str(bed.certificate), "key": str(bed.key)}
        return {
            "public_url": "http://localhost",
            "listeners": [
                {"address": f"127.0.0.1:{self.plain}"},
                {"address": f"127.0.0.1:{self.tls}", "tls": {"certificates": [pair]}},
            ],
            "admin": {"address": "127.0.0.1:0"},
            "access_log": self.access_log,
            "authorization_server": {"entra": {
                "tenant": bed.tenant["tenant"],
                "client_id": bed.tenant["client_id"],
                "authority": bed.tenant["authority"],
            }},
            "sessions": {"state_directory": str(directory)},
            "upstreams": self.upstreams(),
            "routes": self.routes(),
        }

    def upstreams(self):
        return {"workload": {"backends": [f"127.0.0.1:{self.bed.upstream_port}"]}}

    def routes(self):
        return [
            {"path": "/mcp", "mcp": {"upstream": "workload"}},
            {"path": self.token_path, "filters": self.token_steps()},
        ]

    def token_steps(self):
        """What `/oauth2/token` is made of (`mcp-gateway explain`), with the run's own provider."""
        scopes = ["openid", "profile", "email", "offline_access"]
        provider = f"http://127.0.0.1:{self.bed.upstream_port}/token"
        return [
            {"cors": {"origins": "any", "methods": ["POST"]}},
            {"check_token_request": {"client_id": self.bed.tenant["client_id"]}},
            {"strip_form": {"params": ["resource", "prompt"]}},
            {"repair_scope": {
                "in": "form", "scopes": ["openid", "offline_access"], "default": scopes,
            }},
            {"remove_headers": {"request": ["origin", "cookie"]}},
            {"swap_token": {"scopes": scopes}},
            {"exchange": {"url": provider}},
        ]

    def ready(self):
        """Waits until the tenant's keys are there: calls get 503 before."""
        script = self.script("ready", [self.bed.call(self.bed.token)])
        status = lambda: list(self.bed.send(self.plain, "http1", script)["statuses"])
        wait_until(lambda: status() == ["200"], "the gateway has no keys", pause=0.05)

    def begin(self, under, seconds):
        took = super().begin(under, seconds)
        self.ready()
        return took


class LoggingGateway(Gateway):
    name, title = "gateway-log", "mcp-gateway, access log on"
    access_log = "stdout"


class Direct(Server):
    """No proxy at all: what the machine and the upstream take."""

    name, title = "direct", "no proxy"

    def __init__(self, bed):
        super().__init__(bed)
        self.plain = bed.upstream_port

    def program(self):
        return self.bed.programs.upstream

    def start(self, under=(), seconds=20):
        """The bed has started it."""
        return 0

    def processes(self):
        return []


ALL = [Nginx, HaProxy, Envoy, Agentgateway, OldStack, Noop, Gateway]
