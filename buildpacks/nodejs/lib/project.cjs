// Says all that bin/compile wants to know of the package.json in the current folder, as lines of "name value". One
// start of Node for all of it: each takes as long as a small build.

'use strict';

const fs = require('node:fs');
const path = require('node:path');

/** The folder of npm itself. */
function npmFolder() {
  return path.dirname(path.dirname(fs.realpathSync(process.argv[2])));
}

/** npm's own reader of version ranges; Debian's npm and the one from nodejs.org keep it in different places. */
function semver() {
  for (const place of [npmFolder(), '/usr/share/nodejs', '/usr/share/npm/node_modules']) {
    try {
      return require(require.resolve('semver', { paths: [place] }));
    } catch {
      // The next place.
    }
  }
  return null;
}

function npmVersion() {
  try {
    return JSON.parse(fs.readFileSync(path.join(npmFolder(), 'package.json'), 'utf8')).version;
  } catch {
    return 'unknown';
  }
}

/** Sentences that say why this Node is not the one that the project asks for. */
function unfit(wanted) {
  if (typeof wanted !== 'string' || wanted.trim() === '') return [];
  const reader = semver();
  if (!reader) return [];
  if (!reader.validRange(wanted)) {
    return [`package.json asks for Node.js "${wanted}" in engines.node, which is no version range.`];
  }
  if (reader.satisfies(process.version, wanted, { includePrerelease: true })) return [];
  return [
    `package.json asks for Node.js ${wanted} in engines.node, but this stack has ${process.version.slice(1)}.`,
    'Change engines.node, or choose a stack that has it.',
  ];
}

let project;
try {
  project = JSON.parse(fs.readFileSync('package.json', 'utf8').replace(/^\uFEFF/, ''));
} catch (error) {
  console.log(` !     package.json cannot be read as JSON: ${error.message}`);
  process.exit(1);
}
if (project === null || typeof project !== 'object' || Array.isArray(project)) {
  console.log(' !     package.json must hold a JSON object.');
  process.exit(1);
}

const scripts = project.scripts && typeof project.scripts === 'object' ? project.scripts : {};
const say = (name, value) => console.log(`${name} ${value}`);
say('node', process.version.slice(1));
say('npm', npmVersion());
for (const line of unfit(project.engines && project.engines.node)) say('unfit', line);
for (const name of ['heroku-prebuild', 'heroku-postbuild', 'build', 'start']) {
  if (typeof scripts[name] === 'string') say('script', name);
}
