from tests.fakes.upstream import STREAM, completion


async def test_a_whole_answer_reaches_the_client_unchanged(chat, upstream):
    upstream.will_answer(completion("Hi."))

    reply = await chat()

    assert reply.status == 200
    assert reply.content == completion("Hi.")


async def test_a_stream_reaches_the_client_without_the_usage_it_did_not_ask_for(chat, upstream):
    opening, hello, there, stop, _, done = STREAM
    upstream.will_answer(*STREAM)

    reply = await chat(stream=True)

    assert reply.content == opening + hello + there + stop + done


async def test_a_whole_answer_is_recorded(chat, courier):
    reply = await chat()

    record = await courier.record(reply.request_id)

    assert (record.outcome, record.end_reason, record.status) == ("ok", "complete", 200)
