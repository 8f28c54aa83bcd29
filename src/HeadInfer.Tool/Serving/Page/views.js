// What the server's status says, as pictures that are texts as well.

const places = { resident: 'on the GPU', streamed: 'streamed to the GPU', host: 'computed by the CPU', state: 'a state in place of keys and values' };

export const count = n => Math.round(n).toLocaleString('en');

export function size(bytes) {
  const step = bytes < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** step).toFixed(step > 0 && bytes / 1024 ** step < 100 ? 1 : 0)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][step]}`;
}

export const duration = seconds => (seconds < 60 ? `${Math.ceil(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const byId = id => document.getElementById(id);

export function model({ model, device }) {
  byId('model').textContent = `${model.id}: ${model.layers} layers of ${model.heads} heads and ${model.kv_heads} KV heads, on ${device}`;
}

/** What the next prompt takes, of what there is. */
export function plan({ context, memory }, tokens, bytesPerToken) {
  const longest = Math.min(context.longest, context.model);
  const [meter, text, kv] = [byId('plan-meter'), byId('plan-text'), memory.host.kv];
  byId('plan').hidden = false;
  [meter.max, meter.high, meter.optimum, meter.value] = [longest, longest * 0.9, 0, tokens];
  text.textContent = `About ${count(tokens)} tokens, of ${count(longest)} at most. An estimate, at ${bytesPerToken.toFixed(1)} bytes a token. `
    + `The keys and values of these take ${size(tokens * kv.per_token)} of ${size(kv.budget)}.`
    + (tokens > longest ? ' That may be more than fits. Take documents away, or the server refuses the question.' : '');
}

/** A bar for each tier: what it holds, and what is free of its budget. */
export function memory({ memory: { host, gpu } }) {
  byId('memory').hidden = false;
  const { kv } = host;
  tier('Host', host.budget, [
    ['process', host.process], ['weights', host.weights], ['workspace', host.workspace],
    ['KV cache in use', kv.in_use], ['KV cache kept', kv.kept], ['copies of heads', host.copies]]);
  if (gpu) {
    tier('GPU', gpu.budget, [
      ['libraries', gpu.libraries], ['weights', gpu.weights], ['activations', gpu.activations],
      ['KV buffers', gpu.kv_buffers], ['copies of heads', gpu.copies.in_use]]);
  }
}

// The same elements are moved each time, so that a bar moves rather than blinks.
function tier(name, budget, parts) {
  const used = parts.reduce((sum, [, bytes]) => sum + bytes, 0);
  const id = `tier-${name}`;
  if (!byId(id)) {
    byId('tiers').append(element('div', { id }, element('h3'), element('div', { className: 'bar', role: 'img' }, ...parts.map(() => element('span'))),
      element('ul', { className: 'legend', ariaLabel: `Memory of ${name}` }, ...parts.map(() => element('li')))));
  }

  const [heading, bar, list] = byId(id).children;
  heading.textContent = `${name}: ${size(used)} of ${size(budget)}`;
  bar.ariaLabel = `${name} memory: ${size(used)} of ${size(budget)} in use`;
  parts.forEach(([part, bytes], i) => {
    bar.children[i].style.width = `${100 * bytes / Math.max(budget, used, 1)}%`;
    bar.children[i].className = list.children[i].className = `part-${i}`;
    list.children[i].hidden = bytes === 0;
    list.children[i].textContent = `${part} ${size(bytes)}`;
  });
}

const drawn = {};

/** The heads by place, layer by layer. They seldom move, so they are drawn when they do. */
export function heads({ model, heads: { placement } }) {
  const text = JSON.stringify(placement);
  if (drawn.heads === text) {
    return;
  }

  drawn.heads = text;
  byId('heads').hidden = false;
  const layers = placement.map(layer => layer ?? Array(model.kv_heads).fill('state'));
  const counts = heads => Object.keys(places).map(place => [place, heads.filter(h => h === place).length]).filter(([, n]) => n > 0);
  const said = heads => counts(heads).map(([place, n]) => `${n} ${place}`).join(', ');
  const grid = byId('grid');
  grid.ariaLabel = `${layers.length} layers of ${model.kv_heads} KV heads: ${said(layers.flat())}`;
  grid.style.gridTemplateColumns = `repeat(${layers.length}, minmax(0, 1.1rem))`;
  grid.replaceChildren(...Array.from({ length: model.kv_heads }, (_, head) => layers.map((layer, i) =>
    element('span', { className: layer[head], title: `Layer ${i}, KV head ${head}: ${layer[head]}, ${places[layer[head]]}` }))).flat());
  byId('places').replaceChildren(...counts(layers.flat()).map(([place, n]) => element('li', { className: place }, `${n} ${place}: ${places[place]}`)));
  byId('layers').replaceChildren(...layers.map((layer, i) => element('tr', {}, element('th', { scope: 'row' }, `${i}`), element('td', {}, said(layer)))));
}

// How long a time is past, in its largest unit.
function ago(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  const [unit, size] = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]].find(([, s]) => seconds >= s) ?? ['s', 1];
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

/** What the server keeps of the caller's conversations. */
export function cached({ cache: { conversations, count: all } }) {
  const shown = conversations.slice(0, 8).map(c => `${count(c.tokens)} tokens, read ${ago(c.since)}${c.in_use ? ', in use' : ''}`).join('; ');
  byId('cached').textContent = all === 0 ? 'The server has read nothing yet.'
    : `The server knows ${count(all)} of your texts, the last ones first: ${shown}${all > 8 ? '; and others' : ''}.`;
}

/** How far a reading is. */
export function reading({ state, place, tokens, fraction, remaining_seconds: left }) {
  byId('reading-bar').value = fraction;
  byId('reading-text').textContent = state === 'waiting' ? (place ? `Waiting: ${count(place)} before it in the queue.` : 'Waiting for its turn.')
    : state === 'writing' ? 'Writing.'
    : `Reading ${count(tokens)} new tokens: ${Math.round(100 * fraction)}%${left === undefined ? '' : `, ${duration(left)} left`}.`;
}
