// A streamed chat with plain fetch, Node 18 or newer: node node_fetch.mjs

const url = process.env.ROUTEUR_URL ?? "http://127.0.0.1:8080";

const response = await fetch(`${url}/v1/chat/completions`, {
  method: "POST",
  headers: {
    Authorization: `Bearer ${process.env.ROUTEUR_KEY ?? "any"}`,
    "Content-Type": "application/json",
  },
  body: JSON.stringify({
    model: process.env.MODEL ?? "echo",
    stream: true,
    messages: [{ role: "user", content: "Say hello in three languages." }],
  }),
});
if (!response.ok) {
  console.error(`${response.status} ${await response.text()}`);
  process.exit(1);
}

// A chunk may end anywhere, so what comes after the last line break waits for the next one.
let rest = "";
for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + chunk).split(/\r?\n/);
  rest = lines.pop();
  for (const line of lines) {
    if (!line.startsWith("data:") || line.includes("[DONE]")) continue;
    process.stdout.write(JSON.parse(line.slice(5)).choices[0]?.delta?.content ?? "");
  }
}
process.stdout.write("\n");
