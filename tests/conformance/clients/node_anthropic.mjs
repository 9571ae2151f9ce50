// The official Anthropic Node SDK.
import Anthropic from "@anthropic-ai/sdk";
import {
  ANTHROPIC_BASE_URL, ANTHROPIC_MODEL, API_KEY, ASK_WEATHER, BAD_KEY, HELLO, PNG, UNKNOWN_MODEL, WEATHER_PARAMS, eq, expectError,
  main, ok, scenario,
} from "./scen.mjs";

const client = new Anthropic({ baseURL: ANTHROPIC_BASE_URL, apiKey: API_KEY, maxRetries: 0, timeout: 60000 });
const TOOL = { name: "get_weather", description: "Current weather of a city", input_schema: WEATHER_PARAMS };
const asked = (more = {}) => ({ model: ANTHROPIC_MODEL, messages: HELLO, max_tokens: 80, ...more });

scenario("messages_plain", async () => {
  const r = await client.messages.create(asked());
  ok(r.content[0].text && r.usage.output_tokens > 0, JSON.stringify(r));
});
scenario("messages_stream_events", async () => {
  const types = [];
  for await (const e of await client.messages.create(asked({ stream: true }))) types.push(e.type);
  eq([types[0], types.at(-1)], ["message_start", "message_stop"], "first and last event");
});
scenario("messages_stream_helper", async () => {
  const s = client.messages.stream(asked());
  let text = "";
  s.on("text", (t) => (text += t));
  const final = await s.finalMessage();
  eq(final.content[0].text, text, "text");
});
scenario("messages_tool_roundtrip", async () => {
  const first = { role: "user", content: ASK_WEATHER };
  const r = await client.messages.create(asked({ messages: [first], tools: [TOOL] }));
  eq(r.stop_reason, "tool_use", "stop_reason");
  const use = r.content.find((b) => b.type === "tool_use");
  ok(use.input.city, "no city");
  const result = { type: "tool_result", tool_use_id: use.id, content: "21C, sunny" };
  const turns = [first, { role: "assistant", content: r.content }, { role: "user", content: [result] }];
  const after = await client.messages.create(asked({ messages: turns, tools: [TOOL] }));
  ok(after.content.some((b) => b.text), "no text after the tool result");
});
scenario("messages_vision", async () => {
  const image = { type: "image", source: { type: "base64", media_type: "image/png", data: PNG } };
  const turns = [{ role: "user", content: [image, { type: "text", text: "Which color?" }] }];
  ok((await client.messages.create(asked({ messages: turns }))).content[0].text, "no text");
});
scenario("count_tokens", async () => {
  ok((await client.messages.countTokens({ model: ANTHROPIC_MODEL, messages: HELLO })).input_tokens > 0, "no count");
});
scenario("models_list", async () => {
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  ok(ids.includes(ANTHROPIC_MODEL), ids.join());
});
scenario("err_bad_key", () => expectError(
  () => new Anthropic({ baseURL: ANTHROPIC_BASE_URL, apiKey: BAD_KEY, maxRetries: 0 }).messages.create(asked()),
  (e) => e instanceof Anthropic.AuthenticationError && e.error?.type === "error", "AuthenticationError"));
scenario("err_unknown_model", () => expectError(
  () => client.messages.create(asked({ model: UNKNOWN_MODEL })), (e) => e instanceof Anthropic.NotFoundError, "NotFoundError"));
await main();
