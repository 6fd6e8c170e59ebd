"""The official OpenAI client against an agent pod that serves `manifests`.

usage: clients.py BASE_URL      prints what failed; exit code 1 if anything did
"""

import base64
import json
import sys
import traceback

import openai

CASES = []
TOOL = {
    "type": "function",
    "function": {
        "name": "get_order",
        "description": "Looks up an order",
        "parameters": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]},
    },
}
PLACE = {"type": "object", "properties": {"city": {"type": "string"}, "number": {"type": "integer"}}, "required": ["city", "number"]}
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


def case(function):
    CASES.append(function)
    return function


def user(text) -> list:
    return [{"role": "user", "content": text}]


def expect(kind: type, call) -> openai.APIStatusError:
    """The error of this kind with which the call fails."""
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__} is not exactly {kind.__name__}"
        return error
    raise AssertionError(f"no {kind.__name__}")


@case
def an_answer(client):
    answer = client.chat.completions.create(model="support", messages=user("hello"))
    choice = answer.choices[0]
    assert choice.message.content == "You said: hello", choice
    assert (choice.message.role, choice.finish_reason, choice.message.tool_calls) == ("assistant", "stop", None), choice
    assert answer.object == "chat.completion" and answer.model == "support" and answer.id.startswith("chatcmpl-"), answer
    assert answer.created > 1_700_000_000, answer.created
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (12, 4, 16), usage
    assert usage.prompt_tokens_details.cached_tokens == 3, usage


@case
def the_run_id_is_a_header(client):
    raw = client.chat.completions.with_raw_response.create(model="support", messages=user("hello"))
    assert raw.parse().id == f"chatcmpl-{raw.headers['x-run-id']}", raw.headers


@case
def a_stream_without_usage(client):
    chunks = list(client.chat.completions.create(model="support", messages=user("hello"), stream=True))
    assert chunks[0].choices[0].delta.role == "assistant", chunks[0]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == "You said: hello", text
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices[0].finish_reason == "stop" and all(chunk.usage is None for chunk in chunks)


@case
def a_stream_with_usage(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="support", messages=user("hello"), stream=True, stream_options=options))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == 16, chunks[-1]
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


@case
def the_helper_for_streams(client):
    with client.chat.completions.stream(model="support", messages=user("hello")) as stream:
        stream.until_done()
        answer = stream.get_final_completion()
    assert answer.choices[0].message.content == "You said: hello", answer


@case
def the_callers_system_message_follows_the_agents(client):
    messages = [{"role": "system", "content": "Answer in verse."}, *user("system?")]
    text = client.chat.completions.create(model="support", messages=messages).choices[0].message.content
    assert "You are Support." in text and "Answer in verse." in text, text
    assert text.index("You are Support.") < text.index("Answer in verse."), text


@case
def the_caller_keeps_the_conversation(client):
    messages = [*user("one"), {"role": "assistant", "content": "1"}, *user("two")]
    answer = client.chat.completions.create(model="support", messages=messages)
    assert answer.choices[0].message.content == "You said: two", answer


@case
def sampling_parameters(client):
    wanted = {"temperature": 0.5, "top_p": 0.9, "stop": ["END"], "seed": 7, "frequency_penalty": 0.25}
    answer = client.chat.completions.create(model="support", messages=user("parameters?"), max_completion_tokens=9, **wanted)
    used = json.loads(answer.choices[0].message.content)
    limit = used.pop("max_tokens", None) or used.pop("max_completion_tokens", None)
    assert limit == 9 and used == wanted, (limit, used)


@case
def a_round_trip_of_a_client_tool(client):
    messages = user("Where is my order?")
    asked = client.chat.completions.create(model="support", messages=messages, tools=[TOOL]).choices[0]
    assert asked.finish_reason == "tool_calls" and asked.message.content is None, asked
    call = asked.message.tool_calls[0]
    assert (call.type, call.function.name, json.loads(call.function.arguments)) == ("function", "get_order", {"id": 7}), call
    messages += [asked.message, {"role": "tool", "tool_call_id": call.id, "content": "shipped"}]
    answer = client.chat.completions.create(model="support", messages=messages, tools=[TOOL]).choices[0]
    assert (answer.message.content, answer.finish_reason) == ("It is: shipped", "stop"), answer


@case
def a_streamed_call_of_a_client_tool(client):
    with client.chat.completions.stream(model="support", messages=user("my order"), tools=[TOOL]) as stream:
        stream.until_done()
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls", choice
    function = choice.message.tool_calls[0].function
    assert (function.name, json.loads(function.arguments)) == ("get_order", {"id": 7}), function


@case
def no_tool_where_none_is_chosen(client):
    answer = client.chat.completions.create(model="support", messages=user("my order"), tools=[TOOL], tool_choice="none")
    assert answer.choices[0].finish_reason == "stop", answer


@case
def an_answer_of_a_json_schema(client):
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": PLACE, "strict": True}}
    answer = client.chat.completions.create(model="support", messages=user("where?"), response_format=form)
    assert json.loads(answer.choices[0].message.content) == {"city": "Oslo", "number": 7}, answer


@case
def images_as_data_and_as_address(client):
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "https://pictures.example/7.png", "detail": "low"}},
    ]
    answer = client.chat.completions.create(model="support", messages=user(parts))
    assert answer.choices[0].message.content == "I see 2 images", answer


@case
def models(client):
    listed = {model.id for model in client.models.list()}
    assert listed == {"support", "broken"}, listed
    model = client.models.retrieve("support")
    assert (model.id, model.object, model.owned_by) == ("support", "model", "astromesh"), model


@case
def an_unknown_model(client):
    for call in (
        lambda: client.chat.completions.create(model="nobody", messages=user("hello")),
        lambda: client.models.retrieve("nobody"),
    ):
        error = expect(openai.NotFoundError, call)
        assert (error.code, error.type, error.param) == ("agent_not_found", "not_found_error", "model"), error.body


@case
def an_agent_that_asks_for_a_token(client):
    error = expect(openai.AuthenticationError, lambda: client.chat.completions.create(model="guarded", messages=user("hello")))
    assert (error.code, error.type) == ("unauthenticated", "authentication_error"), error.body


@case
def a_request_of_the_wrong_shape(client):
    error = expect(openai.UnprocessableEntityError, lambda: client.chat.completions.create(model="support", messages=user("hi"), n=2))
    assert (error.code, error.type, error.param) == ("validation_failed", "invalid_request_error", "n"), error.body


@case
def content_that_agents_do_not_take(client):
    call = lambda: client.chat.completions.create(model="support", messages=user("hi"), logprobs=True)
    error = expect(openai.BadRequestError, call)
    assert (error.code, error.param) == ("unsupported_content", "logprobs"), error.body


@case
def a_request_that_the_provider_rejects(client):
    error = expect(openai.BadRequestError, lambda: client.chat.completions.create(model="support", messages=user("refuse")))
    assert error.code == "provider_rejected" and error.body["runId"], error.body


@case
def a_provider_that_is_down_fails_before_the_stream_begins(client):
    for stream in (False, True):
        call = lambda: client.chat.completions.create(model="broken", messages=user("hello"), stream=stream)
        error = expect(openai.InternalServerError, call)
        assert error.status_code in (502, 503) and error.type == "api_error", (error.status_code, error.body)


@case
def a_stream_that_breaks_off_raises(client):
    stream = client.chat.completions.create(model="support", messages=user("break"), stream=True)
    said = []
    try:
        for chunk in stream:
            said.append(chunk.choices[0].delta.content)
    except openai.APIError as error:
        assert "".join(said).startswith("You"), said
        assert error.code == "all_providers_failed", error.body
        return
    raise AssertionError(f"a broken stream ended as if it were whole: {said}")


@case
def a_repeated_call_gets_the_stored_answer(client):
    call = lambda text: client.chat.completions.create(
        model="support", messages=user(text), extra_headers={"Idempotency-Key": "contract-1"}
    )
    first, again = call("hello"), call("hello")
    assert first.id == again.id and first.choices == again.choices, (first, again)
    error = expect(openai.UnprocessableEntityError, lambda: call("something else"))
    assert error.code == "idempotency_mismatch", error.body


def main(base_url: str) -> int:
    client = openai.OpenAI(base_url=f"{base_url}/v1", api_key="none", max_retries=0, timeout=30)
    failed = []
    for function in CASES:
        try:
            function(client)
            print(f"ok      {function.__name__}")
        except Exception as error:  # noqa: BLE001, every failure is reported and none ends the others
            failed.append(function.__name__)
            where = traceback.extract_tb(error.__traceback__)[-1].lineno
            print(f"FAILED  {function.__name__}: {type(error).__name__}: {str(error)[:600]} (line {where})")
    print(f"{len(CASES) - len(failed)} of {len(CASES)} passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].rstrip("/")))
