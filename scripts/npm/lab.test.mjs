// An unmodified npm client in a session of the lab is green for all that it exercises, and
// each mutant of it, which makes one mistake, gets exactly its own red rows, in words that
// name the mistake. Covers part 2 of what the lab is for: who reads the report knows what to
// mend.
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { after, before, test } from 'node:test'
import { parse } from 'junit2json'
import * as oauth from 'oauth4webapi'
import { Client, Session, b2b as extension, redirect } from './lab.mjs'
import { allow, browse, patience, visit } from './people.mjs'
import { manifest, now } from './sandbox.mjs'

const options = { timeout: 3 * patience }
const [ana] = manifest.users
const run = crypto.randomUUID()

let browser
before(async () => { browser = await browse() }, options)
after(() => browser?.close())

// machine is a run of client_credentials; person one of authorization_code.
async function machine(client, scope) {
  await client.discover()
  await client.register()
  const granted = await client.token(scope)
  const page = await client.read('Patient?_count=5', granted.access_token)
  assert.equal(page.status, 200)
  await page.text()
  return granted
}

async function signIn(url) {
  const landing = () => ({ status: 200, contentType: 'text/html', body: '<title>app</title>' })
  const page = await visit(browser, new URL(redirect).origin, landing)
  try {
    await page.goto(url.href, { timeout: patience })
    return (await allow(page, ana, redirect)).url
  } finally {
    await page.browserContext().close()
  }
}

async function person(client) {
  await client.discover()
  await client.register('authorization_code')
  return granted(client)
}

// granted has a person allow what the registered client asks for.
async function granted(client) {
  const asked = await client.ask()
  const callback = client.validate(await signIn(asked.url), asked.state)
  const tokens = await client.exchange(callback, asked.verifier)
  const read = await client.read(`Patient/${tokens.patient}`, tokens.access_token)
  assert.equal(read.status, 200)
  await read.text()
  return { asked, callback, tokens }
}

// refused goes on when the destination answered with a refusal of OAuth: a mutant is refused.
async function refused(run) {
  try {
    return await run()
  } catch (fault) {
    if (fault instanceof oauth.ResponseBodyError || fault instanceof oauth.WWWAuthenticateChallengeError ||
      fault instanceof oauth.AuthorizationResponseError || fault instanceof oauth.OperationProcessingError) return undefined
    throw fault
  }
}

test('the client as it is: all green for what it exercises', options, async () => {
  const session = await Session.open('npm client', { profile: 'ssraa-2' })
  const app = new Client(session, `https://outside.example/${run}/machine`)
  await machine(app)
  const people = new Client(session, `https://outside.example/${run}/person`, {}, 'RS256')
  const { tokens } = await person(people)
  const again = await people.refresh(tokens.refresh_token)
  assert.ok(again.access_token)

  const report = await session.report()
  const bad = report.rows.filter((row) => ['violated', 'warned'].includes(row.verdict))
  assert.deepEqual(bad, [])
  assert.ok(report.summary.shown >= 60, `${report.summary.shown} rows are shown`)
  const shown = new Set(report.rows.filter((row) => row.verdict === 'shown').map((row) => row.row))
  for (const id of ['S1-075', 'S1-082', 'S1-155', 'S1-198', 'S1-224', 'S1-164', 'S1-136', 'S1-275', 'S2-13', 'S1-234']) {
    assert.ok(shown.has(id), `${id} is not shown`)
  }

  // JUnit's XML is what a program of others reads: each row is a test case of its own.
  const xml = await (await fetch(`${session.page}api/report.xml`)).text()
  const { tests, failures, skipped, testsuite: [suite] } = await parse(xml)
  assert.deepEqual([tests, failures, skipped], [report.rows.length, 0, report.summary.notExercised])
  assert.deepEqual(suite.testcase.map((one) => one.name.split(' ')[0]), report.rows.map((row) => row.row))
  await session.close()
})

const cc = { run: machine }
const code = { run: person }
const statement = (change, kind = cc) => ({ ...kind, mistake: { statement: change } })
const assertion = (change) => ({ ...cc, mistake: { assertion: change } })
const b2b = (change) => assertion((payload) => change(payload.extensions['hl7-b2b'], payload))
const form = (change) => ({ ...cc, mistake: { tokens: (init) => change(init.body, init.headers) } })
const basic = (headers) => { headers.authorization = 'Basic Y2xpZW50OnNlY3JldA==' }
const ask = (change) => ({ ...code, mistake: { authorize: change } })
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

// mutants: each has one mistake, the rows that it violates, and what the report says of it.
const mutants = [
  // Software statements.
  { name: 'aud of the statement is the FHIR base', rows: ['S1-077'], says: /aud/,
    ...statement((c, h, client) => { c.aud = client.session.base }) },
  { name: 'the statement lives for ten minutes', rows: ['S1-079'], says: /five minutes|300|10m|600/,
    ...statement((c) => { c.exp = c.iat + 600 }) },
  { name: 'the statement has expired', rows: ['S1-078'], says: /exp/,
    ...statement((c) => { c.iat -= 1000; c.exp = c.iat + 300 }) },
  { name: 'exp of the statement is a text', rows: ['S1-078'], says: /exp/,
    ...statement((c) => { c.exp = String(c.exp) }) },
  { name: 'the statement has no iat', rows: ['S1-080'], says: /iat/,
    ...statement((c) => { delete c.iat }) },
  { name: 'iss of the statement is in no SAN', rows: ['S1-075'], says: /SAN|certificate/,
    ...statement((c) => { c.iss = c.sub = 'https://outside.example/not-in-the-certificate' }) },
  { name: 'the statement has no sub', rows: ['S1-076'], says: /sub/,
    ...statement((c) => { delete c.sub }) },
  { name: 'sub of the statement is another URI', rows: ['S1-076'], says: /sub/,
    ...statement((c) => { c.sub = 'https://outside.example/another' }) },
  { name: 'the statement has no jti', rows: ['S1-081'], says: /jti/,
    ...statement((c) => { delete c.jti }) },
  { name: 'jti of the statement is used again', rows: ['S1-082'], says: /jti/,
    mistake: { statement: (c, h, client) => { c.jti = client.jti ??= c.jti } },
    run: async (client) => {
      await machine(client)
      client.mistake.statement = (c) => { c.jti = client.jti; c.scope = 'system/Patient.rs' }
      await client.register()
    } },
  { name: 'the statement has no client_name', rows: ['S1-083'], says: /client_name/,
    ...statement((c) => { delete c.client_name }) },
  { name: 'redirect_uris with client_credentials', rows: ['S1-085'], says: /redirect_uris/,
    ...statement((c) => { c.redirect_uris = [redirect] }) },
  { name: 'no redirect_uris with authorization_code', rows: ['S1-084'], says: /redirect_uris/,
    ...statement((c) => { delete c.redirect_uris }, code) },
  { name: 'an http redirect', rows: ['S2-11'], says: /https/,
    ...statement((c) => { c.redirect_uris = ['http://outside.example/cb'] }, code) },
  { name: 'no contacts', rows: ['S1-086'], says: /contacts/,
    ...statement((c) => { delete c.contacts }) },
  { name: 'contacts without mailto', rows: ['S1-087'], says: /mailto/,
    ...statement((c) => { c.contacts = ['https://outside.example/contact'] }) },
  { name: 'no logo with authorization_code', rows: ['S1-088'], says: /logo_uri/,
    ...statement((c) => { delete c.logo_uri }, code) },
  { name: 'a logo by http', rows: ['S1-090'], says: /logo_uri|https/,
    ...statement((c) => { c.logo_uri = 'http://outside.example/logo.png' }, code) },
  { name: 'a logo that is no picture', rows: ['S1-091'], says: /PNG|logo_uri/,
    ...statement((c) => { c.logo_uri = 'https://outside.example/logo.html' }, code) },
  { name: 'both grants at once', rows: ['S1-092'], says: /grant_types/,
    ...statement((c) => {
      c.grant_types = ['authorization_code', 'client_credentials']
      c.scope = 'system/Patient.rs patient/Patient.rs'
    }, code) },
  { name: 'refresh_token without authorization_code', rows: ['S1-092'], says: /refresh_token|grant_types/,
    ...statement((c) => { c.grant_types = ['client_credentials', 'refresh_token'] }) },
  { name: 'no response_types with authorization_code', rows: ['S1-093'], says: /response_types/,
    ...statement((c) => { delete c.response_types }, code) },
  { name: 'response_types is token', rows: ['S1-094'], says: /response_types/,
    ...statement((c) => { c.response_types = ['token'] }, code) },
  { name: 'response_types with client_credentials', rows: ['S1-095'], says: /response_types/,
    ...statement((c) => { c.response_types = ['code'] }) },
  { name: 'token_endpoint_auth_method is client_secret_basic', rows: ['S1-096'], says: /token_endpoint_auth_method/,
    ...statement((c) => { c.token_endpoint_auth_method = 'client_secret_basic' }) },
  { name: 'the statement has no scope', rows: ['S1-097'], says: /scope/,
    ...statement((c) => { delete c.scope }) },
  { name: 'the statement has no x5c', rows: ['S1-008'], says: /x5c/,
    ...statement((c, h) => { delete h.x5c }) },
  { name: 'x5c is reversed', rows: ['S1-008'], says: /x5c|leaf/,
    ...statement((c, h) => { h.x5c = h.x5c.toReversed() }) },
  { name: 'x5c has PEM', rows: ['S1-008'], says: /PEM|base64/,
    ...statement((c, h) => { h.x5c = h.x5c.map((one) => `-----BEGIN CERTIFICATE-----\n${one}\n-----END CERTIFICATE-----`) }) },
  { name: 'the statement is signed by another key', rows: ['S1-074'], says: /key|signature/,
    ...cc, mistake: { sign: () => stranger } },
  { name: 'alg does not fit the certificate', rows: ['S1-074'], says: /ES256 needs P-256/, kind: 'RS256',
    ...cc, mistake: { sign: () => stranger, statement: (c, h) => { h.alg = 'ES256' } } },
  { name: 'a registration without software_statement', rows: ['S1-071'], says: /software statement/,
    ...cc, mistake: { registration: (body) => { delete body.software_statement } } },
  { name: 'a registration without udap', rows: ['S1-071'], says: /udap/,
    ...cc, mistake: { registration: (body) => { delete body.udap } } },

  // Authentication tokens.
  { name: 'aud of the assertion is the issuer', rows: ['S1-155'], says: /aud/,
    ...assertion((p, h, client) => { p.aud = client.session.issuer }) },
  { name: 'the assertion lives for ten minutes', rows: ['S1-160'], says: /five minutes|300|10m|600/,
    ...assertion((p) => { p.exp = p.iat + 600 }) },
  { name: 'the assertion has expired', rows: ['S1-180'], says: /exp/,
    ...assertion((p) => { p.iat = now() - 1000; p.exp = p.iat + 300; delete p.nbf }) },
  { name: 'iat of the assertion is in the future', rows: ['S1-157'], says: /iat|future/,
    ...assertion((p) => { p.iat = now() + 900; p.exp = p.iat + 300; delete p.nbf }) },
  { name: 'iss of the assertion is the client URI', rows: ['S1-153'], says: /client_id/,
    ...cc, mistake: {
      assertion: (p, h, client) => { p.iss = p.sub = client.id.uri },
      tokens: (init, client) => init.body.set('client_id', client.id.uri),
    } },
  { name: 'the assertion has no sub', rows: ['S1-154'], says: /sub/,
    ...assertion((p) => { delete p.sub }) },
  { name: 'the assertion has no jti', rows: ['S1-158'], says: /jti/,
    ...assertion((p) => { delete p.jti }) },
  { name: 'jti of the assertion is used again', rows: ['S1-159'], says: /jti/,
    mistake: { assertion: (p, h, client) => { p.jti = client.jti ??= p.jti } },
    run: async (client) => { await machine(client); await client.token() } },
  { name: 'the assertion has no x5c', rows: ['S1-008'], says: /x5c/,
    ...assertion((p, h) => { delete h.x5c }) },
  { name: 'no hl7-b2b', rows: ['S1-198'], says: /hl7-b2b/,
    ...assertion((p) => { delete p.extensions }) },
  { name: 'hl7-b2b of version 2', rows: ['S1-202'], says: /version/,
    ...b2b((o) => { o.version = '2' }) },
  { name: 'version of hl7-b2b is a number', rows: ['S1-202'], says: /version/,
    ...b2b((o) => { o.version = 1 }) },
  { name: 'purpose_of_use is no array', rows: ['S1-215'], says: /purpose_of_use/,
    ...b2b((o) => { o.purpose_of_use = o.purpose_of_use[0] }) },
  { name: 'no purpose_of_use', rows: ['S1-215'], says: /purpose_of_use/,
    ...b2b((o) => { delete o.purpose_of_use }) },
  { name: 'organization_id is a name', rows: ['S1-212'], says: /organization_id/,
    ...b2b((o) => { o.organization_id = 'Outside Software' }) },
  { name: 'consent_reference without consent_policy', rows: ['S1-221'], says: /consent_reference/,
    ...b2b((o) => { o.consent_reference = ['https://outside.example/fhir/Consent/1'] }) },

  // Token requests.
  { name: 'the token request has no udap', rows: ['S1-228'], says: /udap/,
    ...form((body) => body.delete('udap')) },
  { name: 'an Authorization header beside the assertion', rows: ['S1-224'], says: /Authorization/,
    ...form((body, headers) => basic(headers)) },
  { name: 'a client_secret beside the assertion', rows: ['S1-224'], says: /client_secret/,
    ...form((body) => body.set('client_secret', 'secret-of-the-mutant')) },
  { name: 'another client_assertion_type', rows: ['S1-226'], says: /client_assertion_type/,
    ...form((body) => body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:saml2-bearer')) },
  { name: 'client_id is not that of the assertion', rows: ['S1-178'], says: /client_id/,
    ...form((body) => body.set('client_id', 'another')) },

  // Authorization and its codes.
  { name: 'no state', rows: ['S1-275'], says: /state/,
    ...ask((p) => { delete p.state }) },
  { name: 'no PKCE', rows: ['S2-13'], says: /code_challenge|PKCE/,
    ...ask((p) => { delete p.code_challenge; delete p.code_challenge_method }) },
  { name: 'PKCE is plain', rows: ['S2-13'], says: /S256|plain/,
    ...ask((p) => { p.code_challenge_method = 'plain' }) },
  { name: 'response_type is token', rows: ['S1-128'], says: /response_type/,
    ...ask((p) => { p.response_type = 'token' }) },
  { name: 'state is the same each time', rows: ['S1-276'], says: /state/,
    mistake: { state: 'always-the-same-state-of-this-mutant' },
    run: async (client) => { await person(client); await granted(client) } },
  { name: 'PKCE is the same each time', rows: ['C-06'], says: /challenge|PKCE/,
    mistake: { verifier: 'always-the-same-verifier-of-this-mutant-of-a-client' },
    run: async (client) => { await person(client); await granted(client) } },
  { name: 'a code is used twice', rows: ['S1-136'], says: /code/,
    run: async (client) => {
      const { callback, asked } = await person(client)
      await client.exchange(callback, asked.verifier)
    } },
  { name: 'redirect_uri of the token request is another', rows: ['S1-143'], says: /redirect_uri/,
    ...code, mistake: { tokens: (init) => init.body.set('redirect_uri', `${redirect}/other`) } },
  { name: 'an Authorization header in the code flow', rows: ['S1-164'], says: /Authorization/,
    ...code, mistake: { tokens: (init) => basic(init.headers) } },
  { name: 'no udap in the code flow', rows: ['S1-171'], says: /udap/,
    ...code, mistake: { tokens: (init) => init.body.delete('udap') } },
  { name: 'hl7-b2b in the code flow', rows: ['S1-199'], says: /hl7-b2b/,
    ...code, mistake: { assertion: (p) => { p.extensions = { 'hl7-b2b': extension } } } },
  { name: 'another code_verifier', rows: ['S2-13'], says: /code_verifier|PKCE/,
    ...code, mistake: { tokens: (init) => init.body.set('code_verifier', 'v'.repeat(43)) } },
  { name: 'a refresh token that was replaced is used again', rows: ['C-05'], says: /refresh token/,
    run: async (client) => {
      const { tokens } = await person(client)
      const { refresh_token } = await client.refresh(tokens.refresh_token)
      await client.refresh(refresh_token) // with it the answer is known to have arrived
      await client.refresh(tokens.refresh_token)
    } },

  // What destinations let pass, or answer as if nothing were there.
  { name: 'a scope that was not registered', rows: ['C-13'], says: /not registered: system\/Encounter.rs/,
    run: (client) => machine(client, 'system/Patient.rs system/Encounter.rs') },
  { name: 'openid with client_credentials', rows: ['C-13'], says: /person who signs in .* openid/,
    run: (client) => machine(client, 'system/Patient.rs openid') },
  { name: 'two slashes in a URL', rows: ['C-17'], says: /two slashes/,
    run: async (client) => {
      const { access_token } = await machine(client)
      await client.read('/Patient', access_token)
    } },
  { name: 'a slash at the end of the URL of the metadata', rows: ['C-17'], says: /slash at its end/,
    run: async (client) => {
      await fetch(`${client.session.base}/.well-known/udap/`)
      await machine(client)
    } },
  { name: 'a second cancellation', rows: ['S1-123'], says: /cancelled again/,
    run: async (client) => {
      await machine(client)
      client.mistake.statement = (c) => { c.grant_types = [] }
      await client.cancel()
      await client.cancel()
    } },

  // What is done with a token, and with what was announced.
  { name: 'the token is in the query', rows: ['C-01'], says: /URL|query/,
    run: async (client) => {
      const { access_token } = await machine(client)
      await fetch(`${client.session.base}/Patient?access_token=${access_token}`)
    } },
  { name: 'the read has no token that was issued', rows: ['C-11'], says: /token/,
    run: async (client) => {
      await machine(client)
      await client.read('Patient?_count=1', 'a-token-of-nobody')
    } },
  { name: 'a read before any registration', rows: ['S1-066'], says: /register/,
    run: async (client) => {
      await client.discover()
      await fetch(`${client.session.base}/Patient?_count=1`)
    } },
  { name: 'an endpoint that was not announced', rows: ['S1-021'], says: /announce|metadata/,
    run: async (client) => {
      await machine(client)
      await fetch(`${client.session.issuer}/connect/token`, { method: 'POST', body: new URLSearchParams({ grant_type: 'client_credentials' }) })
    } },
]

test(`there are at least 40 mutants, each with a name of its own`, () => {
  assert.ok(mutants.length >= 40, `${mutants.length}`)
  assert.equal(new Set(mutants.map((m) => m.name)).size, mutants.length)
})

for (const [i, mutant] of mutants.entries()) {
  test(`mutant: ${mutant.name}`, options, async () => {
    const session = await Session.open(mutant.name, { profile: 'ssraa-2' })
    const client = new Client(session, `https://outside.example/${run}/mutant-${i}`, { ...mutant.mistake }, mutant.kind)
    await refused(() => mutant.run(client))
    const report = await session.report()
    const red = report.rows.filter((row) => row.verdict === 'violated')
    const told = red.map((row) => `${row.row} ${row.text} expected ${row.expected}; found ${row.found}; ${row.remedy}`)
    assert.deepEqual(red.map((row) => row.row).sort(), mutant.rows.toSorted(), told.join('\n'))
    for (const id of mutant.rows) {
      const { text } = red.find((row) => row.row === id)
      assert.match(text, mutant.says, `${id} names the mistake`)
    }
    await session.close()
  })
}
