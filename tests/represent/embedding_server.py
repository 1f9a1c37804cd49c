"""A server with the embeddings API, as a process of its own: hashed n-grams behind HTTP, failing as it is told.

    python embedding_server.py KEY FAILURE...        # prints its port; each failure is what one request gets before others work

Failures: a status, "hang", "close", "words" (no JSON), "fewer" (one vector less), "nan", "wide" (another width), "echo" (400 with the key).
"""

from __future__ import annotations

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sartor.represent.hashed_ngrams import HashedNgrams

KEY, FAILURES = sys.argv[1], sys.argv[2:]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps({"path": self.path, "texts": len(body["input"]), "model": body["model"]}), flush=True)
        if KEY != "-" and self.headers.get("Authorization") != f"Bearer {KEY}":
            return self.answer(401, {"error": {"message": "wrong key"}})
        failure = FAILURES.pop(0) if FAILURES else ""
        if failure == "hang":
            time.sleep(5)
        if failure == "close":
            self.close_connection = True
            return None
        if failure == "echo":
            return self.answer(400, {"error": {"message": f"no such model for {KEY}"}})
        if failure.isdecimal():
            return self.answer(int(failure), {"error": {"message": f"failure {failure}"}})
        vectors = HashedNgrams(body.get("dimensions", 32) + (failure == "wide")).encode(body["input"]) * 3
        data = [{"index": at, "embedding": row.tolist(), "object": "embedding"} for at, row in enumerate(vectors)]
        if failure == "nan":
            data[0]["embedding"][0] = float("nan")
        # The order is not promised.
        return self.answer(200, "words" if failure == "words" else {"data": data[::-1][failure == "fewer" :], "model": body["model"]})

    def answer(self, status: int, content: object) -> None:
        made = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(made)))
        self.end_headers()
        self.wfile.write(made)

    def log_message(self, format: str, *args: object) -> None:
        """Standard output is for the test."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
