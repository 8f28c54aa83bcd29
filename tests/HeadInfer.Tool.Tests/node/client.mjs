// Talks to the server at argv[2] with OpenAI's own client, and writes what it got as one line of JSON.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is the weather in Oslo?" }];
const tools = [{ type: "function", function: { name: "get_weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }];
const whole = await client.chat.completions.create({ model: "any", messages, tools });
let text = "", usage = null;
for await (const chunk of await client.chat.completions.create({ model: "any", messages, stream: true, stream_options: { include_usage: true } })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
}
const response = await client.responses.create({ model: "any", input: "Hello" });
let streamed = "";
for await (const event of await client.responses.create({ model: "any", input: "Hello", stream: true })) {
    streamed += event.type === "response.output_text.delta" ? event.delta : "";
}
// It throws at an event that does not follow from those before.
const gathered = await client.responses.stream({ model: "any", input: "Hello" }).finalResponse();
let failure = "";
for await (const event of await client.responses.create({ model: "any", input: "Fail", stream: true })) {
    failure += event.type === "response.failed" ? event.response.error.message : "";
}
let refusal = null;
try {
    await client.chat.completions.create({ model: "any", messages, n: 2 });
} catch (error) {
    refusal = { status: error.status, param: error.param };
}
console.log(JSON.stringify({
    call: whole.choices[0].message.tool_calls?.[0]?.function, text, cached: usage.prompt_tokens_details.cached_tokens,
    response: response.output_text, streamed, gathered: gathered.output_text, failure, refusal, models: (await client.models.list()).data.map(m => m.id),
}));
