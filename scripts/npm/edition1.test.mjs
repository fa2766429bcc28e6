// The steps of an outside test kit of UDAP Security's first edition against a community with
// that edition's rules: discovery, registration of an authorization_code client whose redirect
// URI is on http loopback, the kit's two spoilt registrations, authorization without PKCE,
// the token and its refresh. A real Chromium is the person's browser.
import assert from 'node:assert/strict'
import { createPublicKey, verify, X509Certificate } from 'node:crypto'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import * as jose from 'jose'
import { allow, App, base, browse, patience } from './people.mjs'
import { manifest, mint, now } from './sandbox.mjs'

const community = manifest.communities.find((c) => c.uri === 'urn:example:sandbox:edition-1')
const ana = manifest.users[0]
const options = { timeout: 3 * patience }
const formType = 'application/x-www-form-urlencoded'

let browser, kit, redirect
before(async () => {
  browser = await browse()
  kit = createServer((request, response) => response.end('<!doctype html><title>kit</title>'))
  await new Promise((done) => kit.listen(0, '127.0.0.1', done))
  redirect = `http://localhost:${kit.address().port}/custom/udap_security/redirect`
}, options)
after(async () => {
  await browser?.close()
  kit?.close()
})

async function discover() {
  const answer = await fetch(`${base}/.well-known/udap?community=${encodeURIComponent(community.uri)}`)
  assert.equal(answer.status, 200)
  assert.match(answer.headers.get('content-type'), /^application\/json/)
  return answer.json()
}

test('discovery: required members, and signed metadata of the same endpoints', options, async () => {
  const udap = await discover()
  assert.deepEqual(udap.udap_versions_supported, ['1'])
  for (const profile of ['udap_dcr', 'udap_authn']) assert.ok(udap.udap_profiles_supported.includes(profile))
  for (const grant of ['authorization_code', 'refresh_token']) assert.ok(udap.grant_types_supported.includes(grant))
  assert.deepEqual(udap.token_endpoint_auth_methods_supported, ['private_key_jwt'])
  for (const list of ['udap_certifications_supported', 'udap_certifications_required', 'scopes_supported',
    'udap_authorization_extensions_supported', 'udap_authorization_extensions_required']) {
    assert.ok(Array.isArray(udap[list]), list)
  }

  const [header, payload, signature] = udap.signed_metadata.split('.')
  const { alg, x5c } = JSON.parse(Buffer.from(header, 'base64url'))
  const leaf = new X509Certificate(Buffer.from(x5c[0], 'base64'))
  assert.equal(alg, 'RS256')
  assert.ok(verify('sha256', Buffer.from(`${header}.${payload}`), createPublicKey(leaf.publicKey.export({ type: 'spki', format: 'pem' })),
    Buffer.from(signature, 'base64url')))
  const claims = JSON.parse(Buffer.from(payload, 'base64url'))
  assert.equal(claims.iss, base)
  assert.equal(claims.sub, base)
  assert.ok(leaf.subjectAltName.includes(`URI:${base}`))
  assert.ok(claims.exp - claims.iat <= 366 * 86400)
  for (const name of ['authorization_endpoint', 'token_endpoint', 'registration_endpoint']) assert.equal(claims[name], udap[name])
})

// registration posts a statement for an authorization_code client.
async function registration(udap, id, claims, spoil = (jws) => jws) {
  const statement = await new jose.SignJWT({
    iss: id.uri, sub: id.uri, aud: udap.registration_endpoint, iat: now(), exp: now() + 300, jti: crypto.randomUUID(),
    client_name: 'Test kit of edition 1', contacts: ['mailto:kit@outside.example'], redirect_uris: [redirect],
    logo_uri: 'https://outside.example/logo.png', grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'], token_endpoint_auth_method: 'private_key_jwt',
    scope: 'openid fhirUser offline_access launch/patient patient/Patient.read', ...claims,
  }).setProtectedHeader({ alg: id.alg, x5c: id.x5c }).sign(id.key)
  const answer = await fetch(udap.registration_endpoint, {
    method: 'POST', headers: { 'content-type': 'application/json', accept: 'application/json' },
    body: JSON.stringify({ software_statement: spoil(statement), udap: '1' }),
  })
  return { status: answer.status, body: await answer.json() }
}

// askToken posts to the token endpoint as the kit does.
async function askToken(udap, app, params) {
  const answer = await fetch(udap.token_endpoint, {
    method: 'POST', headers: { 'content-type': formType, accept: 'application/json' },
    body: new URLSearchParams({
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: await app.assertion(udap.token_endpoint), udap: '1', ...params,
    }),
  })
  assert.equal(answer.headers.get('cache-control'), 'no-store')
  assert.equal(answer.headers.get('pragma'), 'no-cache')
  return { status: answer.status, body: await answer.json() }
}

test('the authorization code group', options, async () => {
  const udap = await discover()
  const app = new App()
  app.id = mint(community, 'https://outside.example/kit', 'RS256')

  const otherName = await registration(udap, app.id, { iss: 'https://outside.example/not-in-the-certificate' })
  assert.equal(otherName.status, 400)
  assert.equal(otherName.body.error, 'invalid_software_statement')
  const otherSignature = await registration(udap, app.id, {}, (jws) => `${jws.slice(0, -8)}AAAAAAAA`)
  assert.equal(otherSignature.status, 400)
  assert.equal(otherSignature.body.error, 'invalid_software_statement')
  const registered = await registration(udap, app.id, {})
  assert.ok([200, 201].includes(registered.status), JSON.stringify(registered.body.error_description))
  assert.deepEqual(registered.body.redirect_uris, [redirect])
  assert.ok(registered.body.software_statement)
  app.client = { client_id: registered.body.client_id }

  const state = crypto.randomUUID()
  const ask = new URL(udap.authorization_endpoint)
  for (const [name, value] of Object.entries({
    response_type: 'code', client_id: app.client.client_id, redirect_uri: redirect, state,
    scope: 'openid fhirUser offline_access launch/patient patient/Patient.read', aud: base,
  })) ask.searchParams.set(name, value)
  const context = await browser.createBrowserContext()
  const page = await context.newPage()
  page.setDefaultTimeout(patience)
  await page.goto(ask.href)
  const { url } = await allow(page, ana, redirect)
  await context.close()
  assert.equal(url.searchParams.get('state'), state)

  const code = url.searchParams.get('code')
  const given = await askToken(udap, app, { grant_type: 'authorization_code', code, redirect_uri: redirect })
  assert.equal(given.status, 200, JSON.stringify(given.body))
  assert.equal(given.body.token_type, 'Bearer')
  assert.ok(given.body.expires_in > 0 && given.body.expires_in <= 3600)
  for (const name of ['access_token', 'refresh_token', 'id_token', 'patient', 'scope']) assert.ok(given.body[name], name)
  const read = (token) => fetch(`${base}/Patient/${given.body.patient}`, { headers: { authorization: `Bearer ${token}` } })
  assert.equal((await read(given.body.access_token)).status, 200)

  const refreshed = await askToken(udap, app, { grant_type: 'refresh_token', refresh_token: given.body.refresh_token })
  assert.equal(refreshed.status, 200, JSON.stringify(refreshed.body))
  assert.equal((await read(refreshed.body.access_token)).status, 200)
  const again = await askToken(udap, app, { grant_type: 'authorization_code', code, redirect_uri: redirect })
  assert.equal(again.body.error, 'invalid_grant')
  assert.equal((await read(refreshed.body.access_token)).status, 401)
})

test('the same request is refused where the second edition binds', options, async () => {
  const strict = manifest.communities[0]
  await assert.rejects(App.register(strict, 'https://outside.example/kit-2', redirect, 'openid patient/Patient.read'), /invalid_redirect_uri/)
  const app = await App.register(strict, 'https://outside.example/kit-2', 'https://outside.example/kit-2', 'openid patient/Patient.read')
  const ask = new URL(app.udap.authorization_endpoint)
  for (const [name, value] of Object.entries({
    response_type: 'code', client_id: app.client.client_id, redirect_uri: app.redirect, state: 'x', scope: 'openid patient/Patient.read',
  })) ask.searchParams.set(name, value)
  const answer = await fetch(ask, { redirect: 'manual' })
  assert.equal(answer.status, 303)
  assert.equal(new URL(answer.headers.get('location')).searchParams.get('error'), 'invalid_request')
})
