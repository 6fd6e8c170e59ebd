"""A model server that does what the question says, with the chat completions API and the standard library alone.

usage: model_server.py      prints its base URL, then serves on a free port of 127.0.0.1 until it is killed

    anything               You said: anything
    order, with a tool     a call of the first tool with {"id": 7}
    the result of a tool   It is: the result
    with an image          I see N images
    with a JSON schema     an object of that schema
    system?                what the system messages say
    parameters?            the sampling parameters, as JSON
    refuse                 status 400
    break                  a stream that breaks off after a word
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SAMPLING = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed", "frequency_penalty", "presence_penalty")
USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16, "prompt_tokens_details": {"cached_tokens": 3}}


def text_of(content) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def images_of(content) -> int:
    return sum(part["type"] == "image_url" for part in content) if isinstance(content, list) else 0


def example(schema: dict):
    """A value of a schema, for the few kinds that the tests use."""
    match schema.get("type"):
        case "object":
            return {name: example(inner) for name, inner in schema.get("properties", {}).items()}
        case "array":
            return [example(schema.get("items", {}))]
        case "integer" | "number":
            return 7
        case "boolean":
            return True
        case _:
            return "Oslo"


def reply(request: dict) -> dict:
    """The message that answers: its content, or its tool calls."""
    last = request["messages"][-1]
    said = text_of(last.get("content"))
    form = request.get("response_format", {})
    if last["role"] == "tool":
        return {"content": f"It is: {said}"}
    if "order" in said and request.get("tools") and request.get("tool_choice") != "none":
        name = request["tools"][0]["function"]["name"]
        call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": '{"id": 7}'}}
        return {"content": None, "tool_calls": [call]}
    if images_of(last.get("content")):
        return {"content": f"I see {images_of(last['content'])} images"}
    if form.get("type") == "json_schema":
        return {"content": json.dumps(example(form["json_schema"]["schema"]))}
    if said == "system?":
        systems = [text_of(message["content"]) for message in request["messages"] if message["role"] == "system"]
        return {"content": "\n".join(systems)}
    if said == "parameters?":
        return {"content": json.dumps({name: request[name] for name in SAMPLING if name in request})}
    return {"content": f"You said: {said}"}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, {"object": "list", "data": [{"id": "scripted", "object": "model"}]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = text_of(request["messages"][-1].get("content"))
        if said == "refuse":
            self.answer(400, {"error": {"message": "I refuse", "type": "invalid_request_error", "code": "refused"}})
            return
        message = reply(request)
        finish = "tool_calls" if message.get("tool_calls") else "stop"
        if request.get("stream"):
            self.stream(message, finish, cut=said == "break")
            return
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
        self.answer(200, {"id": "1", "object": "chat.completion", "created": 0, "model": "scripted", "choices": [choice], "usage": USAGE})

    def answer(self, status: int, body: dict):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, message: dict, finish: str, cut: bool):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        deltas = [{"content": word} for word in (message["content"] or "").split(" ")]
        deltas = [{"content": delta["content"] + " "} for delta in deltas[:-1]] + deltas[-1:]
        if message.get("tool_calls"):
            deltas = [{"tool_calls": [{"index": 0, **message["tool_calls"][0]}]}]
        if cut:
            deltas = deltas[:1]
        for delta in deltas:
            self.event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        if cut:
            return
        self.event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        self.event({"choices": [], "usage": USAGE})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, chunk: dict):
        body = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "scripted", **chunk}
        self.wfile.write(f"data: {json.dumps(body)}\n\n".encode())
        self.wfile.flush()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
