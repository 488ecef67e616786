"""The authorize proxy of the old stack: sends the browser on, without `resource` and `prompt`.

python3 authorize_proxy.py PORT AUTHORIZE-URL
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit

STRIPPED = {"resource", "prompt"}


class Authorize(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    target = ""

    def do_GET(self):
        query = parse_qsl(urlsplit(self.path).query, keep_blank_values=True)
        kept = urlencode([(name, value) for name, value in query if name not in STRIPPED])
        self.send_response(302)
        self.send_header("Location", f"{self.target}?{kept}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Access logs are off for everybody."""


if __name__ == "__main__":
    port, Authorize.target = int(sys.argv[1]), sys.argv[2]
    ThreadingHTTPServer(("127.0.0.1", port), Authorize).serve_forever()
