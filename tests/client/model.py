"""A stand-in for the messages API, on loopback. What the last prompt says decides what it answers:

    call{COMMAND}   it calls the shell tool with that command
    shell{COMMAND}  the same, but the command runs in the background
    agents{N}       it starts N subagents; each says hello as soon as `may_agents_answer` is set

Anything else, and what follows a tool call, is answered with a few words. Each reply in a session uses
50,000 tokens of context more than the one before, so that numbers differ from reply to reply.
"""

import http.server
import json
import re
import threading
import time
import uuid

# What the client asks, and its price in dollars per million tokens.
MODEL = "claude-opus-5-5"
PRICES = {"input": 4.0, "output": 20.0, "cache_5m": 5.0, "cache_1h": 8.0, "cache_read": 0.2}
STEP = 50_000
AGENT_CONTEXT = 12_000
AGENT = "x-claude-code-agent-id"


class Reply:
    """One answer, with what it used."""

    def __init__(self, request, headers, model):
        self.at = time.time()
        self.model = request.get("model")
        self.session = headers.get("x-claude-code-session-id")
        self.agent = headers.get(AGENT)
        self.prompt, self.result = last_prompt(request)
        # The client keeps the summary that it asks for at /compact in no transcript.
        self.is_summary = "<summary>" in self.prompt
        self.text = "<summary>Nothing.</summary>" if self.is_summary else "Hello from loopback."
        n_before = sum(it.session == self.session and not it.agent for it in model.replies)
        self.context = AGENT_CONTEXT if self.agent else model.first_context + STEP * n_before
        self.used = {"input": 1000, "output": 2000, "cache_5m": 3000, "cache_1h": 1000}
        self.used["cache_read"] = self.context - 5000
        self.calls = [] if self.result is not None else calls_in(self.prompt)

    @property
    def cost(self):
        return sum(n * PRICES[kind] for kind, n in self.used.items()) / 1e6

    def usage(self, output):
        return {
            "input_tokens": self.used["input"],
            "cache_creation_input_tokens": self.used["cache_5m"] + self.used["cache_1h"],
            "cache_read_input_tokens": self.used["cache_read"],
            "cache_creation": {"ephemeral_5m_input_tokens": self.used["cache_5m"],
                               "ephemeral_1h_input_tokens": self.used["cache_1h"]},
            "output_tokens": output,
            "service_tier": "standard",
        }

    def message(self, **more):
        return {"id": f"msg_{uuid.uuid4().hex[:24]}", "type": "message", "role": "assistant",
                "model": self.model, "content": [], "stop_reason": None, "stop_sequence": None,
                "usage": self.usage(1), **more}

    def events(self):
        """The reply as the events of a stream."""
        yield "message_start", {"message": self.message()}
        block = {"type": "text", "text": ""}
        yield "content_block_start", {"index": 0, "content_block": block}
        delta = {"type": "text_delta", "text": self.text}
        yield "content_block_delta", {"index": 0, "delta": delta}
        yield "content_block_stop", {"index": 0}
        for index, (name, arguments) in enumerate(self.calls, 1):
            block = {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:20]}", "name": name, "input": {}}
            yield "content_block_start", {"index": index, "content_block": block}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
            yield "content_block_delta", {"index": index, "delta": delta}
            yield "content_block_stop", {"index": index}
        delta = {"stop_reason": "tool_use" if self.calls else "end_turn", "stop_sequence": None}
        yield "message_delta", {"delta": delta, "usage": self.usage(self.used["output"])}
        yield "message_stop", {}


class Model:
    """Serves in threads of this process until it is closed. `replies` has every answer so far."""

    def __init__(self):
        self.replies = []
        self.first_context = 100_000
        # What is used of each limit, as a share of 1, and when its window ends. With limits, the client
        # is started as that of a subscription.
        self.limits = {}
        self.lock = threading.Lock()
        self.may_agents_answer = threading.Event()
        handler = type("Handler", (Requests,), {"model": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def answer(self, request, headers):
        if AGENT in headers:
            self.may_agents_answer.wait()
        with self.lock:
            reply = Reply(request, headers, self)
            self.replies.append(reply)
        return reply

    def limit_headers(self):
        for name, (share, reset) in self.limits.items():
            yield f"anthropic-ratelimit-unified-{name}-utilization", str(share)
            yield f"anthropic-ratelimit-unified-{name}-reset", str(reset)
            yield f"anthropic-ratelimit-unified-{name}-status", "allowed"

    def close(self):
        self.may_agents_answer.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Requests(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_document(404, {})

    do_HEAD = do_GET

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if "count_tokens" in self.path:
            return self.send_document(200, {"input_tokens": 1000})
        if "/v1/messages" not in self.path:
            return self.send_document(404, {})
        request = json.loads(body)
        reply = self.model.answer(request, {name.lower(): it for name, it in self.headers.items()})
        if not request.get("stream"):
            text = [{"type": "text", "text": "ok"}]
            usage = reply.usage(reply.used["output"])
            return self.send_document(200, reply.message(content=text, stop_reason="end_turn", usage=usage))
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("request-id", f"req_{uuid.uuid4().hex[:20]}")
        self.send_header("connection", "close")
        for name, it in self.model.limit_headers():
            self.send_header(name, it)
        self.end_headers()
        try:
            for name, event in reply.events():
                line = json.dumps({"type": name, **event})
                self.wfile.write(f"event: {name}\ndata: {line}\n\n".encode())
        except OSError:
            # The client was ended meanwhile.
            pass

    def send_document(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("request-id", f"req_{uuid.uuid4().hex[:20]}")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def last_prompt(request):
    """What was said since the last answer, and what tools printed; None if none was called."""
    messages = request.get("messages", [])
    last = max((n for n, it in enumerate(messages) if it["role"] == "assistant"), default=-1)
    texts, results = [], []
    for message in messages[last + 1:]:
        content = message["content"]
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        for block in content:
            if block["type"] == "tool_result":
                results.append(str(block.get("content", "")))
            if block["type"] == "text" and not block["text"].startswith("<system-reminder>"):
                texts.append(block["text"])
    return "\n".join(texts), "\n".join(results) if results else None


def calls_in(prompt):
    calls = []
    # Once each: what stands behind the name of a skill comes twice.
    for kind, command in dict.fromkeys(re.findall(r"(call|shell)\{(.*?)\}", prompt)):
        calls.append(("Bash", {"command": command, "description": "a command",
                               "run_in_background": kind == "shell"}))
    for count in re.findall(r"agents\{(\d)\}", prompt):
        for n in range(int(count)):
            calls.append(("Agent", {"description": f"job {n}", "prompt": "say hello",
                                    "subagent_type": "general-purpose"}))
    return calls
