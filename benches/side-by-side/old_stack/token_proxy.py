"""The token proxy of the old stack: posts the form on without `resource`, hands out the ID token.

python3 token_proxy.py PORT TOKEN-URL
"""

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode, urlsplit


class Token(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    target = urlsplit("")

    def do_POST(self):
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        kept = [(k, v) for k, v in parse_qsl(form, keep_blank_values=True) if k != "resource"]
        status, body = self.ask(urlencode(kept))
        if status == 200:
            answer = json.loads(body)
            if "id_token" in answer:
                answer["access_token"] = answer["id_token"]
            body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def ask(self, form):
        connection = http.client.HTTPConnection(self.target.netloc, timeout=15)
        try:
            fields = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", self.target.path, form, fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def log_message(self, *_):
        """Access logs are off for everybody."""


if __name__ == "__main__":
    port, Token.target = int(sys.argv[1]), urlsplit(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", port), Token).serve_forever()
