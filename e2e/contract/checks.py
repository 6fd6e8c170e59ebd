"""What schemathesis checks beside what it brings along, and how it fills in names. Loaded by `run`."""

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
def map_body(_context, body):
    if isinstance(body, dict) and isinstance(body.get("model"), str) and len(body["model"]) < 8:
        body["model"] = KNOWN
    return body


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
