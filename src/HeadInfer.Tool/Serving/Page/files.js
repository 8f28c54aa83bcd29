// Files and folders as texts. Whatever is left out is named.

const mostBytes = 64 * 2 ** 20; // of a file; a prompt of more would not leave the browser
const probe = 8192; // bytes in which a binary file shows itself

/** Files of an input, with their paths below the chosen folder. */
export const chosen = input => [...input.files].map(file => ({ name: file.webkitRelativePath || file.name, file }));

/** Files of a drop. What was dropped is known only while the event lasts, so it is taken before anything is awaited. */
export async function dropped(transfer) {
  const found = [];
  const entries = [...transfer.items].filter(item => item.kind === 'file').map(item => item.webkitGetAsEntry() ?? item.getAsFile());
  for (const entry of entries) {
    await walk(entry, found);
  }

  return found;
}

async function walk(entry, found) {
  if (entry instanceof File) {
    found.push({ name: entry.name, file: entry });
  } else if (entry?.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject)).catch(() => null);
    found.push({ name: entry.fullPath.slice(1), file });
  } else if (entry && passedOver(`${entry.fullPath.slice(1)}/.`)) {
    found.push({ name: `${entry.fullPath.slice(1)}/.`, file: null });
  } else if (entry) {
    const reader = entry.createReader();
    let some;
    while ((some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)).catch(() => null))?.length > 0) { // about 100 at a time
      for (const inner of some) {
        await walk(inner, found);
      }
    }

    if (some === null) {
      found.push({ name: entry.fullPath.slice(1), file: null });
    }
  }
}

// The hidden or built folder that a file lies in. The folder that was chosen itself is meant.
function passedOver(name) {
  const folders = name.split('/').slice(0, -1);
  const at = folders.findIndex((folder, i) => i > 0 && (folder.startsWith('.') || ['bin', 'obj', 'node_modules'].includes(folder)));
  return at < 0 ? null : folders.slice(0, at + 1).join('/');
}

/**
 * Reads files in the order of their names, so that the same files are the same text.
 * @returns {Promise<{documents: {name, text, bytes}[], left: string[]}>} what was read, and what was not and why
 */
export async function read(found) {
  const documents = [];
  const left = new Set();
  for (const { name, file } of found.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const folder = passedOver(name);
    const bytes = !folder && file && file.size <= mostBytes ? await file.arrayBuffer().then(all => new Uint8Array(all), () => null) : null;
    const reason = folder ? null
      : file?.size > mostBytes ? 'larger than 64 MiB'
      : !bytes ? 'it cannot be read'
      : bytes.length === 0 ? 'empty'
      : isBinary(bytes) ? 'a binary file'
      : '';
    if (reason === '') {
      const text = decode(bytes, name, left);
      documents.push({ name, bytes: new Blob([text]).size, text });
    } else {
      left.add(folder ? `Left out ${folder}: a hidden folder, or one of a build` : `Left out ${name}: ${reason}`);
    }
  }

  return { documents, left: [...left] };
}

// What a byte order mark says: Windows' own programs write texts so.
const wide = ([first, second]) => first === 0xff && second === 0xfe ? 'utf-16le' : first === 0xfe && second === 0xff ? 'utf-16be' : null;

// In UTF-16, half of the bytes of an English text are zeros.
const isBinary = bytes => (wide(bytes) ? new Uint16Array(bytes.buffer, 0, Math.min(bytes.length, probe) >> 1) : bytes.subarray(0, probe)).includes(0);

function decode(bytes, name, left) {
  try {
    return new TextDecoder(wide(bytes) ?? 'utf-8', { fatal: !wide(bytes) }).decode(bytes);
  } catch {
    left.add(`${name} is not UTF-8; it was read as Windows-1252`);
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

/** Documents as one text, each under a line with its name, as `headinfer ask` writes them. */
export const joined = documents => documents.map(d => `=== ${d.name} ===\n${d.text.trimEnd()}`).join('\n\n');
