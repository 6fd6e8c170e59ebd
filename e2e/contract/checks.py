"""What schemathesis checks beside what it brings along, and how it fills in names. Loaded by `run`."""

import json

import jsonschema_rs
import schemathesis

KNOWN = "support"


@schemathesis.hook
def map_path_parameters(_context, path_parameters):
    """Made-up names of agents lead to 404 and no further, so that most of them become one that is there."""
    for name, value in (path_parameters or {}).items():
        if isinstance(value, str) and len(value) < 8:
            path_parameters[name] = KNOWN
    return path_parameters


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Likewise for models. A conversation has a question, which no schema says; and every other answer is a stream."""
    if not isinstance(case.body, dict):
        return
    body = dict(case.body)
    if isinstance(body.get("model"), str) and len(body["model"]) < 8:
        body["model"] = KNOWN
    if isinstance(body.get("messages"), list):
        body["messages"] = [*body["messages"], {"role": "user", "content": "hello"}]
    if body.get("stream") in (None, False) and len(str(body)) % 2:
        body["stream"] = True
    case.body = body


@schemathesis.check
def no_fault_of_the_pod(_context, response, case):
    """500 is in the document because it can be; it must not happen."""
    assert response.status_code != 500, f"500 from {case.operation.label}: {response.text}"


@schemathesis.check
def errors_have_a_documented_code(_context, response, case):
    """The description of a failure's status lists its codes."""
    if response.status_code < 400:
        return
    code = response.json()["error"]["code"]
    documented = case.operation.definition.raw["responses"].get(str(response.status_code), {}).get("description", "")
    assert f"`{code}`" in documented or code == "method_not_allowed", f"{code} is not among {documented or 'nothing'}"


@schemathesis.check
def runs_have_an_id(_context, response, case):
    is_run = case.operation.method == "post" and response.status_code == 200
    assert not is_run or response.headers.get("x-run-id"), f"no X-Run-Id from {case.operation.label}"


def documented(case, name: str, value) -> None:
    """Raises where the value is not of the schema of this name."""
    components = case.operation.schema.raw_schema["components"]
    try:
        jsonschema_rs.validate({"$ref": f"#/components/schemas/{name}", "components": components}, value)
    except jsonschema_rs.ValidationError as error:
        raise AssertionError(f"not a {name}: {error.message}: {value}") from None


@schemathesis.check
def streams_are_as_documented(_context, response, case):
    """The document tells the shape of an event and, in words, what its data is."""
    if "text/event-stream" not in response.headers.get("content-type", [""])[0]:
        return
    frames = [frame for frame in response.text.split("\n\n") if frame and not frame.startswith(":")]
    lines = [dict(line.split(": ", 1) for line in frame.split("\n")) for frame in frames]
    data = [line["data"] for line in lines]
    if "chat" in case.operation.path:
        assert data[-1] == "[DONE]" or "error" in json.loads(data[-1]), f"no end in {data[-1]}"
        for item in data[: -1 if data[-1] == "[DONE]" else None]:
            documented(case, "ChatErrorAnswer" if '{"error"' in item else "ChatCompletionChunk", json.loads(item))
        return
    assert [line["id"] for line in lines] == [str(number) for number in range(1, len(lines) + 1)]
    for line in lines:
        event = json.loads(line["data"])
        documented(case, "RunEvent", event)
        assert event["type"] == line["event"]
    ends = [line["event"] in ("done", "error") for line in lines]
    assert ends.count(True) == 1 and ends[-1], "exactly one event ends a run"
