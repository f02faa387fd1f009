// Does by the last word of its path what it is asked: the one component in JavaScript, as the
// JavaScript SDK builds it (StarlingMonkey, WASI 0.2, a `fetch` event).

import * as keyValue from 'fermyon:spin/key-value@2.0.0';
import * as llm from 'fermyon:spin/llm@2.0.0';
import * as redis from 'fermyon:spin/redis@2.0.0';
import * as sqlite from 'fermyon:spin/sqlite@2.0.0';
import * as variables from 'fermyon:spin/variables@2.0.0';
import { getEnvironment } from 'wasi:cli/environment@0.2.3';

const encode = (text) => new TextEncoder().encode(text);
const decode = (bytes) => new TextDecoder().decode(bytes);

// What WIT calls an error is thrown with its case as payload.
function attempt(deed) {
  try {
    return deed();
  } catch (error) {
    return error?.payload?.tag ?? String(error);
  }
}

function told(request, url) {
  const header = (name) => request.headers.get(name) ?? '-';
  const lines = [
    `${request.method} ${url.pathname}${url.search}`,
    `route ${header('spin-matched-route')}`,
    `rest ${header('spin-path-info')}`,
    `name ${header('spin-path-match-name')}`,
  ];
  return new Response(lines.join('\n'), { headers: { 'x-written-in': 'JavaScript' } });
}

function keys(label) {
  return attempt(() => {
    const store = keyValue.Store.open(label);
    store.set('one', encode('1'));
    store.set('bytes', new Uint8Array([0, 255]));
    const lines = [
      decode(store.get('one')),
      [...store.get('bytes')].join(' '),
      String(store.get('none')),
      store.exists('one'),
      store.getKeys().sort().join(','),
    ];
    store.delete('one');
    lines.push(store.exists('one'));
    return lines.join('\n');
  });
}

function sql(label) {
  return attempt(() => {
    const database = sqlite.Connection.open(label);
    database.execute('CREATE TABLE IF NOT EXISTS js (i INTEGER, t TEXT, b BLOB, n TEXT)', []);
    database.execute('DELETE FROM js', []);
    database.execute('INSERT INTO js VALUES (?, ?, ?, ?)', [
      { tag: 'integer', val: -7n },
      { tag: 'text', val: 'é' },
      { tag: 'blob', val: new Uint8Array([0, 255]) },
      { tag: 'null' },
    ]);
    const { columns, rows } = database.execute('SELECT * FROM js', []);
    const values = rows[0].values.map(({ tag, val }) => `${tag} ${val ?? ''}`.trim());
    return `${columns.join(',')}\n${values.join('\n')}`;
  });
}

function commands(url) {
  return attempt(() => {
    const server = redis.Connection.open(url);
    server.del(['js']);
    server.set('js', encode('41'));
    const after = server.incr('js');
    return `${after} ${decode(server.get('js'))} ${server.get('none')}`;
  });
}

function infer(model) {
  return attempt(() => {
    const { text, usage } = llm.infer(model, 'a text', undefined);
    return `${text} ${usage.promptTokenCount} ${usage.generatedTokenCount}`;
  });
}

// Chunks that come one by one.
function stream() {
  let next = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(encode(`line ${next}\n`));
      next += 1;
      if (next === 3) controller.close();
    },
  });
}

async function fetched(url) {
  try {
    const answer = await fetch(url);
    return new Response(`${answer.status} ${await answer.text()}`);
  } catch (error) {
    return new Response(`failed: ${error.name}`, { status: 502 });
  }
}

async function posted(url, request) {
  const answer = await fetch(url, { method: 'POST', body: await request.arrayBuffer() });
  return new Response(answer.body, { status: answer.status });
}

async function handle(request) {
  const url = new URL(request.url);
  const query = decodeURIComponent(url.search.slice(1));
  switch (url.pathname.split('/').pop()) {
    case 'body':
      return new Response(request.body);
    case 'length':
      return new Response(String((await request.arrayBuffer()).byteLength));
    case 'stream':
      return new Response(stream());
    case 'big':
      return new Response('x'.repeat(Number(query)));
    case 'status':
      return new Response(null, { status: Number(query), headers: { 'x-asked': query } });
    case 'throw':
      throw new Error('told to');
    case 'environment':
      return new Response(getEnvironment().map(([name, value]) => `${name}=${value}`).sort().join('\n'));
    case 'variable':
      return new Response(attempt(() => variables.get(query)));
    case 'keys':
      return new Response(keys(query));
    case 'sql':
      return new Response(sql(query));
    case 'redis':
      return new Response(commands(query));
    case 'infer':
      return new Response(infer(query));
    case 'fetch':
      return fetched(query);
    case 'post':
      return posted(query, request);
    default:
      return told(request, url);
  }
}

addEventListener('fetch', (event) => event.respondWith(handle(event.request)));
