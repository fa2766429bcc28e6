// An unmodified OAuth client and an unmodified FHIR client against a running
// sandbox, through its gateway, with certificates that OpenSSL minted.
// NODE_EXTRA_CA_CERTS must name the sandbox's TLS CA.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { Client } from 'fhir-kit-client'
import { MedplumClient } from '@medplum/core'
import { dir, manifest, mint, now, record } from './sandbox.mjs'

const base = manifest.publicBase
const community = manifest.communities[0]
const b2b = {
  'hl7-b2b': {
    version: '1',
    organization_id: 'https://outside.example/organization',
    organization_name: 'Outside Software',
    purpose_of_use: ['urn:oid:2.16.840.1.113883.5.8#TREAT'],
  },
}

async function discover() {
  const answer = await fetch(`${base}/.well-known/udap?community=${encodeURIComponent(community.uri)}`)
  assert.equal(answer.status, 200)
  const plain = await answer.json()
  const { x5c } = jose.decodeProtectedHeader(plain.signed_metadata)
  const key = await jose.importX509(`-----BEGIN CERTIFICATE-----\n${x5c[0]}\n-----END CERTIFICATE-----`, 'RS256')
  const { payload } = await jose.jwtVerify(plain.signed_metadata, key, { issuer: base, subject: base, algorithms: ['RS256'] })
  assert.equal(payload.token_endpoint, plain.token_endpoint)
  assert.equal(payload.registration_endpoint, plain.registration_endpoint)
  return plain
}

function statement(id, endpoint, more = {}) {
  const claims = {
    iss: id.uri, sub: id.uri, aud: endpoint, iat: now(), exp: now() + 300, jti: crypto.randomUUID(),
    client_name: 'Outside client', contacts: ['mailto:owner@outside.example'],
    grant_types: ['client_credentials'], token_endpoint_auth_method: 'private_key_jwt',
    scope: 'system/Patient.rs system/Observation.read', ...more,
  }
  return new jose.SignJWT(claims).setProtectedHeader({ alg: id.alg, x5c: id.x5c }).sign(id.key)
}

async function register(udap, id, scope) {
  const as = { issuer: udap.registration_endpoint, registration_endpoint: udap.registration_endpoint }
  const answer = await oauth.dynamicClientRegistrationRequest(as, {
    software_statement: await statement(id, udap.registration_endpoint, scope ? { scope } : {}), udap: '1',
  })
  return oauth.processDynamicClientRegistrationResponse(answer)
}

async function token(id, registered, scope) {
  const issuer = new URL(base.replace(/\/fhir$/, '/oauth'))
  const as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2' }))
  const key = await jose.importPKCS8(id.pem, id.alg)
  const auth = oauth.PrivateKeyJwt(key, {
    [oauth.modifyAssertion]: (header, payload) => {
      header.x5c = id.x5c
      payload.aud = as.token_endpoint
      payload.extensions = b2b
    },
  })
  const client = { client_id: registered.client_id, token_endpoint_auth_method: 'private_key_jwt' }
  const answer = await oauth.clientCredentialsGrantRequest(as, client, auth, { scope, udap: '1' })
  return oauth.processClientCredentialsResponse(as, client, answer)
}

for (const alg of ['RS256', 'ES256']) {
  test(`oauth4webapi and jose register, get a token and read a Patient with an OpenSSL certificate (${alg})`, async () => {
    const udap = await discover()
    const id = mint(community, `https://outside.example/${alg}`, alg)
    const registered = await register(udap, id)
    assert.deepEqual(registered.grant_types, ['client_credentials'])
    const granted = await token(id, registered, 'system/Patient.rs')
    assert.equal(granted.token_type, 'bearer')
    assert.ok(granted.expires_in > 0 && granted.expires_in <= 3600)
    assert.equal(granted.refresh_token, undefined)
    const page = await fetch(`${base}/Patient?_count=5`, { headers: { authorization: `Bearer ${granted.access_token}` } })
    assert.equal(page.status, 200)
    const text = await page.text()
    record(text)
    const bundle = JSON.parse(text)
    assert.ok(bundle.entry.length > 0)
    for (const e of bundle.entry) assert.ok(e.fullUrl.startsWith(`${base}/Patient/`), e.fullUrl)
    for (const l of bundle.link) assert.ok(l.url.startsWith(base), l.url)
  })
}

test('fhir-kit-client reads and searches', async () => {
  const udap = await discover()
  const id = mint(community, 'https://outside.example/fhir-kit', 'ES256')
  const granted = await token(id, await register(udap, id), 'system/Patient.rs system/Observation.read')
  const client = new Client({ baseUrl: base, bearerToken: granted.access_token })
  const statementOf = await client.capabilityStatement()
  assert.equal(statementOf.resourceType, 'CapabilityStatement')
  record(JSON.stringify(statementOf))
  let page = await client.search({ resourceType: 'Patient', searchParams: { _count: 7 } })
  record(JSON.stringify(page))
  const first = page.entry[0].resource
  const read = await client.read({ resourceType: 'Patient', id: first.id })
  record(JSON.stringify(read))
  assert.deepEqual(read, first)
  const seen = new Set(page.entry.map((e) => e.resource.id))
  while ((page = await client.nextPage({ bundle: page }))) {
    record(JSON.stringify(page))
    for (const e of page.entry) {
      assert.ok(!seen.has(e.resource.id), `${e.resource.id} came twice`)
      seen.add(e.resource.id)
    }
  }
  assert.ok(seen.size >= 25, `${seen.size} patients`)
  const vitals = await client.search({ resourceType: 'Observation', searchParams: { patient: first.id, category: 'vital-signs' } })
  record(JSON.stringify(vitals))
  assert.ok(vitals.entry.length > 0)
  await assert.rejects(client.read({ resourceType: 'Condition', id: 'x' }), (e) => e.response.status === 403)
})

test('curl sees the discovery documents, and is told to show a token', () => {
  const curl = (...args) => execFileSync('curl', ['-sS', '--cacert', path.join(dir, manifest.tlsCA), ...args], { encoding: 'utf8' })
  const udap = JSON.parse(curl(`${base}/.well-known/udap`))
  assert.deepEqual(udap.udap_versions_supported, ['1'])
  const metadata = curl(`${base}/metadata`)
  assert.equal(JSON.parse(metadata).resourceType, 'CapabilityStatement')
  record(metadata)
  const head = curl('-i', `${base}/Patient`)
  assert.match(head, /^HTTP\/1\.1 401 /)
  assert.match(head, /^WWW-Authenticate: Bearer/im)
  record(head.slice(head.indexOf('\r\n\r\n') + 4))
})

test('a statement whose iss is in no SAN is refused with a trace', async () => {
  const udap = await discover()
  const id = mint(manifest.communities[1], 'https://outside.example/foreign', 'RS256')
  id.uri = 'https://outside.example/not-in-the-certificate'
  const answer = await fetch(udap.registration_endpoint, {
    method: 'POST', headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ software_statement: await statement(id, udap.registration_endpoint), udap: '1' }),
  })
  assert.equal(answer.status, 400)
  const refusal = await answer.json()
  assert.equal(refusal.error, 'invalid_software_statement')
  assert.ok(answer.headers.get('trace-id'))
})

// Medplum's client is one of bulk data: it kicks off, follows Content-Location and
// polls. The token is given to it by setAccessToken, its public hook.
test('MedplumClient exports a Group through both intermediaries', async () => {
  const udap = await discover()
  const id = mint(community, 'https://outside.example/bulk', 'ES256')
  const registered = await register(udap, id, 'system/*.rs')
  const granted = await token(id, registered, 'system/*.rs')
  const client = new MedplumClient({
    baseUrl: base.replace(/fhir$/, ''), fhirUrlPath: 'fhir/', fetch, cacheTime: 0,
  })
  client.setAccessToken(granted.access_token)

  const group = (await client.search('Group', { _count: 1 })).entry[0].resource
  const members = group.member.filter((m) => !m.inactive).length
  const manifest = await client.bulkExport(`Group/${group.id}`, 'Patient,Observation,Encounter', undefined, { pollStatusOnAccepted: true })
  assert.equal(manifest.requiresAccessToken, true)
  assert.ok(Date.parse(manifest.transactionTime) <= Date.now())
  assert.ok(manifest.request.startsWith(`${base}/Group/${group.id}/$export`), manifest.request)
  assert.deepEqual([...new Set(manifest.output.map((o) => o.type))].sort(), ['Encounter', 'Observation', 'Patient'])
  for (const file of manifest.output) {
    assert.ok(file.url.startsWith(`${base}/`), file.url)
    const text = await (await client.download(file.url)).text()
    const lines = text.trimEnd().split('\n')
    assert.equal(lines.length, file.count)
    if (file.type === 'Patient') assert.equal(lines.length, members)
    for (const line of lines) {
      assert.equal(JSON.parse(line).resourceType, file.type)
      record(line)
    }
    const stranger = await fetch(file.url)
    assert.equal(stranger.status, 401)
  }
})

// canonical is FHIR R4's canonical JSON of a resource without the members of its root
// that are left out. JSON.parse would lose how numbers were written: each becomes a
// marked string first.
function canonical(text, ...without) {
  const token = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
  const marked = text.replace(token, (t) => (t[0] === '"' ? t : `"\\u0001${t}"`))
  const write = (v) => {
    if (typeof v === 'string' && v[0] === '\u0001') return v.slice(1)
    if (Array.isArray(v)) return `[${v.map(write).join(',')}]`
    if (v === null || typeof v !== 'object') return JSON.stringify(v)
    return `{${Object.keys(v).sort().map((k) => `${JSON.stringify(k)}:${write(v[k])}`).join(',')}}`
  }
  const root = JSON.parse(marked)
  for (const name of without) delete root[name]
  return new TextEncoder().encode(write(root))
}

const canon = 'http://hl7.org/fhir/canonicalization/json#static'

test('jose verifies what $sign makes, and what jose signs is verified', async () => {
  const udap = await discover()
  const id = mint(community, 'https://outside.example/signer', 'ES256')
  const scope = 'system/*.cruds'
  const granted = await token(id, await register(udap, id, scope), scope)
  const ask = async (method, path, body, more) => {
    const headers = { authorization: `Bearer ${granted.access_token}`, 'content-type': 'application/fhir+json', ...more }
    const answer = await fetch(`${base}/${path}`, { method, headers, body })
    const text = await answer.text()
    record(text)
    return { status: answer.status, text, resource: JSON.parse(text) }
  }

  const weight = '{"resourceType":"Observation","status":"final","code":{"text":"\\u00e9 \\/ weight"},' +
    '"valueQuantity":{"value":71.50,"unit":"kg"},"text":{"status":"generated","div":"<div xmlns=\\"http://www.w3.org/1999/xhtml\\">x</div>"}}'
  const made = await ask('POST', 'Observation', weight)
  assert.equal(made.status, 201, made.text)
  assert.match(made.text, /71\.50/)
  const at = `Observation/${made.resource.id}/_history/1`

  // Through both intermediaries, a Provenance in the header is stored as it was sent.
  const sent = '{"resourceType":"Provenance","recorded":"2026-01-02T03:04:05.670+01:00","agent":[{"who":{"display":"Outside"}}]}'
  const beside = await ask('POST', 'Observation', weight, { 'x-provenance': sent })
  assert.equal(beside.status, 201, beside.text)
  const found = await ask('GET', `Observation?_id=${beside.resource.id}&_revinclude=Provenance:target`)
  assert.match(found.text, /"recorded":"2026-01-02T03:04:05\.670\+01:00"/)
  assert.ok(found.text.includes(`Observation/${beside.resource.id}/_history/1`))

  const signed = await ask('POST', `Observation/${made.resource.id}/$sign`)
  assert.equal(signed.status, 201, signed.text)
  const [signature] = signed.resource.signature
  assert.equal(signed.resource.target[0].reference, at)
  assert.equal(signature.sigFormat, 'application/jose')
  const [head, none, sig] = Buffer.from(signature.data, 'base64').toString().split('.')
  assert.equal(none, '')
  const { x5c, alg, canon: form } = JSON.parse(Buffer.from(head, 'base64url').toString())
  assert.equal(form, canon)
  const key = await jose.importX509(`-----BEGIN CERTIFICATE-----\n${x5c[0]}\n-----END CERTIFICATE-----`, alg)
  const payload = jose.base64url.encode(canonical(made.text, 'text', 'meta'))
  await jose.compactVerify(`${head}.${payload}.${sig}`, key)
  const other = jose.base64url.encode(canonical(made.text.replace('71.50', '71.5'), 'text', 'meta'))
  await assert.rejects(jose.compactVerify(`${head}.${other}.${sig}`, key))

  const provenance = async (content) => {
    const header = { alg: id.alg, x5c: id.x5c, canon }
    const [h, , s] = (await new jose.CompactSign(content).setProtectedHeader(header).sign(id.key)).split('.')
    return JSON.stringify({
      resourceType: 'Provenance', target: [{ reference: at }], recorded: new Date().toISOString(), agent: [{ who: { display: 'Outside' } }],
      signature: [{
        type: [{ system: 'urn:iso-astm:E1762-95:2013', code: '1.2.840.10065.1.12.1.1' }], when: new Date().toISOString(),
        who: { identifier: { value: id.uri } }, targetFormat: 'application/fhir+json', sigFormat: 'application/jose',
        data: Buffer.from(`${h}..${s}`).toString('base64'),
      }],
    })
  }
  const good = await ask('POST', 'Provenance', await provenance(canonical(made.text, 'text', 'meta')))
  assert.equal(good.status, 201, good.text)
  const bad = await ask('POST', 'Provenance', await provenance(canonical(made.text.replace('71.50', '71.5'), 'text', 'meta')))
  assert.equal(bad.status, 422, bad.text)
  assert.match(bad.resource.issue[0].diagnostics, /^jws\.signature: /)
})
