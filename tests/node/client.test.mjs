// What users of the openai package for node see of a running gateway; BASE_URL is its address with /v1, PICTURES
// the folder of the two pictures in the box.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';

const model = 'axgate-demo';
const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: 'sk-test', maxRetries: 0 });

const picture = (name) => ({
  type: 'image_url',
  image_url: { url: `data:image/png;base64,${readFileSync(`${process.env.PICTURES}/${name}`, 'base64')}` },
});
const user = (text, ...pictures) => ({ role: 'user', content: [...pictures.map(picture), { type: 'text', text }] });
const asked = (text, ...pictures) => ({ model, temperature: 0, messages: [user(text, ...pictures)] });

const weather = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'Tells the weather of a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string', maxLength: 12 } },
      required: ['city'],
      additionalProperties: false,
    },
  },
};

test('a completion', async () => {
  const answer = await client.chat.completions.create(asked('What is at the top left?', 'shapes.png'));
  assert.equal(answer.choices[0].message.content, 'a pink square');
  assert.equal(answer.choices[0].finish_reason, 'stop');
  assert.match(answer._request_id, /^req_/);
});

test('a stream says what the completion says', async () => {
  const question = asked('Do both images have the same background color?', 'shapes.png', 'word.png');
  const whole = await client.chat.completions.create(question);
  const stream = await client.chat.completions.create({
    ...question,
    stream: true,
    stream_options: { include_usage: true },
  });
  let [text, usage] = ['', null];
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? '';
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.equal(usage.total_tokens, whole.usage.total_tokens);
});

test('the helper gathers a stream, of two choices', async () => {
  const stream = client.chat.completions.stream({ ...asked('What does the text say?', 'word.png'), n: 2 });
  const gathered = await stream.finalChatCompletion();
  assert.deepEqual(gathered.choices.map((choice) => choice.message.content), ['COFFEE', 'COFFEE']);
  assert.deepEqual(gathered.choices.map((choice) => choice.message.role), ['assistant', 'assistant']);
});

test('a reply is parsed by its schema', async () => {
  const seen = z.object({ color: z.enum(['red', 'green', 'blue']), round: z.boolean() });
  const parsed = await client.chat.completions.parse({
    ...asked('What do you see?', 'shapes.png'),
    response_format: zodResponseFormat(seen, 'seen'),
  });
  assert.ok(seen.safeParse(parsed.choices[0].message.parsed).success);
});

test('a tool is run, and its result goes back', async () => {
  const cities = [];
  const runner = client.chat.completions.runTools(
    {
      ...asked('What is the weather in Oslo?'),
      max_tokens: 200,
      tools: [
        {
          type: 'function',
          function: {
            ...weather.function,
            parse: JSON.parse,
            function: ({ city }) => {
              cities.push(city);
              return 'sunny';
            },
          },
        },
      ],
      tool_choice: { type: 'function', function: { name: 'weather' } },
    },
    { maxChatCompletions: 1 },
  );
  await runner.done();
  const call = runner.messages.find((message) => message.tool_calls).tool_calls[0];
  assert.equal(call.function.name, 'weather');
  assert.deepEqual(cities, [JSON.parse(call.function.arguments).city]);
  assert.equal(runner.messages.at(-1).role, 'tool');
  assert.equal(runner.messages.at(-1).tool_call_id, call.id);
});

test('a tool call is streamed', async () => {
  const stream = client.chat.completions.stream({
    ...asked('What is the weather in Oslo?'),
    max_tokens: 200,
    tools: [weather],
    tool_choice: 'required',
    parallel_tool_calls: false,
  });
  const { message, finish_reason } = (await stream.finalChatCompletion()).choices[0];
  assert.equal(finish_reason, 'tool_calls');
  assert.equal(message.tool_calls.length, 1);
  assert.equal(typeof JSON.parse(message.tool_calls[0].function.arguments).city, 'string');
});

test('a response, whole and streamed', async () => {
  const input = [
    {
      role: 'user',
      content: [
        { type: 'input_text', text: 'What is at the top left?' },
        { type: 'input_image', image_url: picture('shapes.png').image_url.url, detail: 'auto' },
      ],
    },
  ];
  const whole = await client.responses.create({ model, input, temperature: 0 });
  const streamed = await client.responses.stream({ model, input, temperature: 0 }).finalResponse();
  assert.equal(whole.output_text, 'a pink square');
  assert.equal(streamed.output_text, whole.output_text);
  const next = await client.responses.create({
    model,
    input: 'What is the background color?',
    previous_response_id: whole.id,
    temperature: 0,
  });
  assert.equal(next.output_text, 'blue');
});

test('a text is continued', async () => {
  const answer = await client.completions.create({ model, prompt: 'The circle is', max_tokens: 4, temperature: 0 });
  assert.equal(answer.object, 'text_completion');
  assert.ok(answer.usage.completion_tokens <= 4);
});

test('errors have their classes, codes and fields', async () => {
  const refused = async (request, kind, code, param) => {
    const error = await client.chat.completions.create(request).then(assert.fail, (reason) => reason);
    assert.ok(error instanceof kind, String(error));
    assert.deepEqual([error.code, error.param, error.type], [code, param, 'invalid_request_error']);
  };
  const hello = asked('Hi');
  await refused({ ...hello, model: 'nope' }, OpenAI.NotFoundError, 'model_not_found', null);
  await refused({ ...hello, temperature: 3 }, OpenAI.BadRequestError, 'decimal_above_max_value', 'temperature');
  await refused({ ...hello, messages: [] }, OpenAI.BadRequestError, 'empty_array', 'messages');
  const long = asked('red '.repeat(5000));
  await refused(long, OpenAI.BadRequestError, 'context_length_exceeded', 'messages');
  await refused({ ...long, stream: true }, OpenAI.BadRequestError, 'context_length_exceeded', 'messages');
});

test('a stream that is left ends the generation', async () => {
  const controller = new AbortController();
  const stream = await client.chat.completions.create(
    { ...asked('Describe the image.', 'shapes.png'), stream: true },
    { signal: controller.signal },
  );
  for await (const _ of stream) {
    controller.abort();
    break;
  }
  const models = await client.models.list();
  assert.ok(models.data.some((each) => each.id === model));
});
