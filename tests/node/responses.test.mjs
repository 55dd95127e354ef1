// What users of the openai package for node see of responses and text completions; see client.test.mjs.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const model = 'axgate-demo';
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: 'sk-test', maxRetries: 0 });

const picture = (name) => ({
  type: 'input_image',
  detail: 'auto',
  image_url: `data:image/png;base64,${readFileSync(`${process.env.PICTURES}/${name}`, 'base64')}`,
});
const user = (text, ...pictures) => ({
  role: 'user',
  content: [...pictures.map(picture), { type: 'input_text', text }],
});
const asked = (text, ...pictures) => ({ model, temperature: 0, input: [user(text, ...pictures)] });

test('a response, and one that follows it', async () => {
  const first = await client.responses.create(asked('What is at the top left?', 'shapes.png'));
  assert.equal(first.output_text, 'a pink square');
  const second = await client.responses.create({ ...asked('What color is it?'), previous_response_id: first.id });
  assert.ok(second.usage.input_tokens_details.cached_tokens >= first.usage.input_tokens);
  assert.equal((await client.responses.retrieve(second.id)).output_text, second.output_text);
  await client.responses.delete(second.id);
  await assert.rejects(client.responses.retrieve(second.id), OpenAI.NotFoundError);
});

test('the helper gathers a streamed response', async () => {
  const stream = client.responses.stream(asked('What is at the top left?', 'shapes.png'));
  let text = '';
  stream.on('response.output_text.delta', (event) => {
    text += event.delta;
    assert.equal(event.snapshot, text);
  });
  const whole = await stream.finalResponse();
  assert.equal(whole.output_text, 'a pink square');
  assert.equal(text, whole.output_text);
});

test('a response is parsed by a schema', async () => {
  const colour = z.object({ name: z.enum(['red', 'green', 'blue']) });
  const parsed = await client.responses.parse({
    ...asked('Hello.'),
    text: { format: zodTextFormat(colour, 'colour') },
  });
  assert.deepEqual(Object.keys(parsed.output_parsed), ['name']);
});

test('a response to go on from that is not there is a 400 with its code', async () => {
  await assert.rejects(
    client.responses.create({ ...asked('Hi'), previous_response_id: 'resp_0', stream: true }),
    (error) => error instanceof OpenAI.BadRequestError && error.code === 'previous_response_not_found',
  );
});

test('a text completion, whole and streamed', async () => {
  const question = { model, prompt: 'The quick brown fox', temperature: 0, max_tokens: 5 };
  const whole = await client.completions.create(question);
  let text = '';
  for await (const chunk of await client.completions.create({ ...question, stream: true })) {
    text += chunk.choices[0].text;
  }
  assert.equal(text, whole.choices[0].text);
});
