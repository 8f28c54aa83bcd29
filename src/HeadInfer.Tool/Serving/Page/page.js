// The page: documents and questions in, answers out, and what the server takes for them.

import * as files from './files.js';
import * as server from './server.js';
import * as views from './views.js';

const byId = id => document.getElementById(id);
const { element } = views;

let bytesPerToken = 4; // until an answer tells how many tokens its prompt was
let known = null; // the status that came last
let lost = false; // whether there was none the last time
let running = null; // what stops the answer under way
let shown = null; // the conversation that is seen
const conversations = [];

// A conversation: documents (those that were sent stay), turns as the server gets them, and what is seen of it.
function begin(documents = []) {
  const button = element('button', { type: 'button', textContent: `Conversation ${conversations.length + 1}` });
  const conversation = { documents: documents.map(d => ({ ...d, sent: false })), reads: new Set(), turns: [], articles: [], bytes: 0, tokens: 0, button };
  conversations.push(conversation);
  button.onclick = () => show(conversation);
  byId('conversations').append(element('li', {}, button));
  show(conversation);
}

function show(conversation) {
  shown = conversation;
  conversations.forEach(c => (c.button.ariaCurrent = c === shown ? 'true' : 'false'));
  byId('log').replaceChildren(...shown.articles);
  showDocuments();
}

function showDocuments() {
  byId('documents').replaceChildren(...shown.documents.map(d => element('li', {}, `${d.name}, ${views.size(d.bytes)}${d.sent ? ', sent' : ''} `,
    ...(d.sent ? [] : [element('button', { type: 'button', textContent: 'Remove', ariaLabel: `Remove ${d.name}`, onclick: () => remove(d) })]))));
  byId('reading-files').hidden = shown.reads.size === 0;
  showPlan();
}

function remove(document) {
  shown.documents = shown.documents.filter(d => d !== document);
  showDocuments();
  byId('files').focus(); // the button is gone
}

function showPlan() {
  if (known) {
    const bytes = shown.documents.reduce((sum, d) => sum + (d.sent ? 0 : d.bytes), bytesOf(byId('question').value));
    views.plan(known, shown.tokens + bytes / bytesPerToken, bytesPerToken);
  }
}

// A question waits for the files that are being read.
async function add(found) {
  const conversation = shown;
  const read = take(conversation, found);
  conversation.reads.add(read);
  byId('reading-files').hidden = false;
  say('Reading files…');
  await read;
  conversation.reads.delete(read);
  showDocuments();
}

// Whether they could be read.
async function take(conversation, found) {
  try {
    const { documents, left } = await files.read(await found);
    const again = d => !d.sent && documents.some(other => other.name === d.name); // the newer one is meant
    conversation.documents = [...conversation.documents.filter(d => !again(d)), ...documents];
    byId('left').replaceChildren(...left.map(text => element('li', { textContent: text })));
    say(`${documents.length} documents are there${left.length > 0 ? `, ${left.length} remarks` : ''}.`);
    showDocuments();
    return true;
  } catch (error) {
    fail(error);
    return false;
  }
}

const bytesOf = text => new Blob([text]).size;

const say = text => (byId('said').textContent = text);

function fail(error) {
  if (byId('error').textContent !== error.message) { // else it is read out again and again
    byId('error').textContent = error.message;
  }

  if (error.status === 401) {
    byId('key-form').hidden = false;
  }
}

function article(conversation, who, text) {
  const body = element('p', { className: 'body', textContent: text });
  const made = element('article', { className: who, ariaLabel: who === 'user' ? 'Question' : 'Answer' }, body);
  conversation.articles.push(made);
  if (conversation === shown) {
    byId('log').append(made);
  }

  return { made, body };
}

// Whether all files of a conversation are read before who asks stops that.
function areRead(conversation, signal) {
  say('Reading files…');
  byId('reading-text').textContent = 'Reading files…';
  const stopped = new Promise(resolve => signal.addEventListener('abort', () => resolve([false])));
  return Promise.race([Promise.all(conversation.reads), stopped]).then(all => all.every(is => is));
}

async function ask() {
  const [conversation, question, most] = [shown, byId('question').value.trim(), byId('most').valueAsNumber || null];
  if (running || question === '') {
    return;
  }

  running = new AbortController();
  const { signal } = running;
  byId('question').value = byId('error').textContent = '';
  busy(true);
  if (conversation.reads.size > 0 && !await areRead(conversation, signal)) {
    running = null;
    busy(false);
    say('The question was not asked.');
    byId('question').value ||= question;
    return;
  }

  busy(true); // files are read, the prompt is not
  const news = conversation.documents.filter(d => !d.sent);
  const content = [files.joined(news), question].filter(part => part !== '').join('\n\n'); // documents first: they are what is known the next time
  const asked = article(conversation, 'user', news.length > 0 ? `${question}\n(with ${news.map(d => d.name).join(', ')})` : question);
  const { made, body } = article(conversation, 'assistant', '');
  if (conversation.turns.length === 0) {
    conversation.button.textContent = question.slice(0, 60);
  }

  const turns = [...conversation.turns, { role: 'user', content }];
  let [text, note, usage] = ['', '', null];
  try {
    for await (const part of server.answer(turns, most, signal)) {
      if (part.progress) {
        views.reading(part.progress);
      } else if (part.text) {
        const follows = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
        byId('reading').hidden = true;
        text += part.text;
        body.append(part.text);
        if (follows) {
          scrollTo(0, document.documentElement.scrollHeight);
        }
      }

      note = part.reason === 'length' ? 'Cut off: it has as many tokens as it may have. ' : note;
      usage = part.usage ?? usage;
    }

    say('The answer is there.');
  } catch (error) {
    note = signal.aborted ? 'Stopped. ' : 'Broken off. ';
    say(note);
    if (!signal.aborted) {
      fail(error);
    }
  } finally {
    running = null;
    busy(false);
  }

  if (text === '' && !usage) { // nothing was said, so nothing was asked
    conversation.articles = conversation.articles.filter(a => a !== made && a !== asked.made);
    made.remove();
    asked.made.remove();
    byId('question').value ||= question;
  } else {
    conversation.turns = [...turns, { role: 'assistant', content: text }];
    news.forEach(d => (d.sent = true));
    account(conversation, usage, note, bytesOf(content + text), made, text);
  }

  showDocuments();
  poll();
}

// What an answer cost, beneath it. What was stopped came without its usage.
function account(conversation, usage, note, bytes, made, text) {
  conversation.bytes += bytes;
  if (usage) {
    const cached = usage.prompt_tokens_details.cached_tokens;
    note += `${views.count(usage.prompt_tokens)} tokens, of which ${views.count(cached)} were known; ${views.count(usage.completion_tokens)} written.`;
    conversation.tokens = usage.total_tokens;
    bytesPerToken = conversation.bytes / Math.max(1, usage.total_tokens);
    conversation.button.nextSibling?.remove();
    conversation.button.after(element('span', { className: 'hint', textContent: ` ${views.count(usage.total_tokens)} tokens; ${views.count(cached)} of the last prompt were known` }));
  } else {
    conversation.tokens += bytes / bytesPerToken;
  }

  made.append(element('p', { className: 'hint', textContent: note }), element('button', { type: 'button', textContent: 'Copy answer', onclick: () => copy(text, made) }));
}

// A page that came without https from another machine may not write to the clipboard; then the answer is selected.
async function copy(text, made) {
  try {
    await navigator.clipboard.writeText(text);
    say('The answer is copied.');
  } catch {
    getSelection().selectAllChildren(made.querySelector('.body'));
    say('The answer is selected: copy it with Ctrl+C.');
  }
}

function busy(is) {
  byId('ask').disabled = is;
  byId('stop').disabled = !is;
  byId('log').ariaBusy = String(is);
  byId('reading').hidden = !is;
  if (is) {
    views.reading({ state: 'waiting', fraction: 0 });
    say('Reading.');
  }
}

async function poll() {
  try {
    known = await server.status();
    views.model(known);
    views.memory(known);
    views.heads(known);
    views.cached(known);
    showPlan();
    byId('key-form').hidden = true;
    byId('error').textContent = lost ? '' : byId('error').textContent;
    lost = false;
  } catch (error) {
    lost = true;
    fail(error);
  }
}

// Often while something moves, and not at all while nobody looks.
async function watch() {
  for (;;) {
    if (!document.hidden && byId('key-form').hidden) {
      await poll();
    }

    await new Promise(resolve => setTimeout(resolve, running ? 500 : 2000));
  }
}

byId('files').onchange = byId('folder').onchange = async event => {
  await add(files.chosen(event.target));
  event.target.value = ''; // so that the same one can be chosen again
};
document.ondragover = event => {
  event.preventDefault();
  byId('drop').classList.add('over');
};
document.ondragleave = () => byId('drop').classList.remove('over');
document.ondrop = event => {
  event.preventDefault();
  byId('drop').classList.remove('over');
  add(files.dropped(event.dataTransfer));
};
byId('ask-form').onsubmit = event => {
  event.preventDefault();
  ask();
};
byId('question').oninput = showPlan;
byId('question').onkeydown = event => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    byId('ask-form').requestSubmit();
  }
};
document.onkeydown = event => event.key === 'Escape' && running?.abort();
byId('stop').onclick = () => running?.abort();
byId('new').onclick = () => begin();
byId('same').onclick = () => begin(shown.documents);
byId('key-form').onsubmit = event => {
  event.preventDefault();
  server.useKey(byId('key').value);
  byId('key').value = '';
  poll();
};

begin();
watch();
