"""As much of a wandb server as a run talks to: it keeps the rows that it is sent, and can fall silent."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer(ThreadingHTTPServer):
    """Runs on a port of this machine.

    Attributes:
        rows: what each run has logged, by the run's id, as lines of JSON.
        silent: when set, no request is answered any more.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.silent = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        place = {"id": "p", "name": "glow_app", "entity": {"id": "e", "name": "me"}}
        match re.search(r"(?:query|mutation)\s+(\w+)", query):
            case name if name is not None and name[1] == "RunResumeStatus":
                return {"model": {**place, "bucket": self._bucket(variables["name"])}}
            case name if name is not None and name[1] == "UpsertBucket":
                id = variables["name"]
                self.rows.setdefault(id, [])
                bucket = {"id": "b", "name": id, "displayName": id, "config": "{}", "project": place}
                return {"upsertBucket": {"bucket": bucket | {"historyLineCount": len(self.rows[id])}, "inserted": True}}
            case name if name is not None and name[1] == "CreateRunFiles":
                files = [{"name": file, "uploadUrl": f"{self.url}/upload"} for file in variables["files"]]
                return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def stream(self, run: str, files: dict[str, dict[str, Any]]) -> None:
        if chunk := files.get("wandb-history.jsonl"):
            rows = self.rows[run]
            rows[chunk["offset"] :] = [json.loads(line) for line in chunk["content"]]

    def _bucket(self, run: str) -> dict[str, Any] | None:
        if run not in self.rows:
            return None
        rows = self.rows[run]
        tail = json.dumps([json.dumps(row) for row in rows[-1:]])
        counts = {"historyLineCount": len(rows), "eventsLineCount": 0, "logLineCount": 0}
        tails = {
            "historyTail": tail,
            "eventsTail": "[]",
            "summaryMetrics": "{}",
            "config": "{}",
            "wandbConfig": '{"t": 1}',
        }
        return {"id": "b", "name": run, **counts, **tails}


class _Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if self.server.silent.is_set():
            threading.Event().wait()
        if self.path.endswith("/graphql"):
            request = json.loads(body)
            self._send({"data": self.server.answer(request["query"], request.get("variables") or {})})
        else:
            self.server.stream(self.path.split("/")[-2], json.loads(body).get("files") or {})
            self._send({"exitcode": None, "limits": {}})

    def do_PUT(self) -> None:
        self._body()
        self._send({})

    def log_message(self, *arguments: Any) -> None:
        pass

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """One that runs while the context lasts."""
    server = WandbServer()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
