// Reads hosts and paths as Node's `URL` does: of the whole, and of the target against a base, which
// is how most servers use it. The lines are those of reader.py.
'use strict';

const lines = require('readline').createInterface({ input: process.stdin });

function* parsed(name, read) {
  let url;
  try {
    url = read();
  } catch {
    return;
  }
  yield [name, url.hostname, url.pathname, true];
  try {
    yield [name, url.hostname, decodeURIComponent(url.pathname), false];
  } catch {
    // Not UTF-8: frameworks answer 400.
  }
}

lines.on('line', (line) => {
  const { host, target } = JSON.parse(line);
  const base = `http://${host}`;
  const readings = [
    ...parsed('node URL', () => new URL(base + target)),
    ...parsed('node URL against a base', () => new URL(target, base)),
  ];
  process.stdout.write(JSON.stringify(readings) + '\n');
});
