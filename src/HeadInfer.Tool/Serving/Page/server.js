// The server's routes, as far as the page uses them.

let key = sessionStorage.getItem('key') ?? '';

export function useKey(text) {
  key = text;
  sessionStorage.setItem('key', text);
}

/** What the server said no with; `status` is 0 where an answer had begun. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function send(path, options = {}) {
  const headers = options.body ? { 'Content-Type': 'application/json' } : {};
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }

  const response = await fetch(path, { ...options, headers }).catch(error => {
    throw error instanceof TypeError ? new Error('The server does not answer.') : error;
  });
  if (!response.ok) {
    const error = (await response.json().catch(() => ({}))).error; // a text under /api, an object under /v1
    throw new Refused(response.status, error?.message ?? error ?? `The server answered ${response.status}.`);
  }

  return response;
}

/** What the engine knows of itself. */
export const status = async () => (await send('/api/headinfer/status')).json();

/**
 * An answer as it comes.
 * @param most tokens of the answer; null for as many as the server gives
 * @yields {{progress?, text?, reason?, usage?}} in the words of the wire
 */
export async function* answer(messages, most, signal) {
  const body = { messages, stream: true, stream_options: { include_usage: true, include_progress: true }, ...(most && { max_completion_tokens: most }) };
  const response = await send('/v1/chat/completions', { method: 'POST', body: JSON.stringify(body), signal });
  for await (const { name, data } of events(response.body)) {
    if (data === '[DONE]') {
      return;
    }

    const said = JSON.parse(data);
    if (said.error) {
      throw new Refused(0, said.error.message);
    } else if (name === 'progress') {
      yield { progress: said };
    } else {
      const choice = said.choices[0];
      yield { text: choice?.delta.content ?? '', reason: choice?.finish_reason, usage: said.usage };
    }
  }

  throw new Error('The answer broke off.');
}

// A stream of events; an event may come in pieces.
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }

      const frames = (rest + value).split('\n\n');
      rest = frames.pop();
      for (const lines of frames.map(frame => frame.split('\n'))) {
        const field = name => lines.find(line => line.startsWith(`${name}: `))?.slice(name.length + 2);
        if (field('data')) {
          yield { name: field('event'), data: field('data') };
        }
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // one that was stopped is at its end already
  }
}
