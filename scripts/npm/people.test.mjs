// Apps of people that we did not write, driven by a real Chromium, against a sandbox that
// runs: the manifest's directory is in SANDBOX_DIR.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'
import { App, allow, base, browse, issuer, patience, visit } from './people.mjs'
import { manifest } from './sandbox.mjs'

const scope = 'openid fhirUser offline_access launch/patient patient/Patient.rs patient/Observation.rs'
const [ana, ben] = manifest.users
const options = { timeout: 3 * patience }

let browser
before(async () => { browser = await browse() }, options)
after(() => browser?.close())

// landing is the app's redirect URI in the browser: nothing is there.
const landing = () => ({ status: 200, contentType: 'text/html', body: '<title>app</title>' })

// signIn has a person allow what a URL asks for, and returns where the browser ends.
async function signIn(url, user, redirect) {
  const page = await visit(browser, new URL(redirect).origin, landing)
  try {
    await page.goto(url.href, { timeout: patience })
    return (await allow(page, user, redirect)).url
  } finally {
    await page.browserContext().close()
  }
}

// discoverAS returns the metadata of the authorization server, as OpenID Connect has it.
async function discoverAS() {
  return oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer))
}

for (const proof of [false, true]) {
  test(`oauth4webapi: code with PKCE, refresh, introspection, revocation${proof ? ', DPoP' : ''}`, options, async () => {
    const redirect = 'https://outside.example/cb'
    const app = await App.register(manifest.communities[0], `https://outside.example/oauth4webapi-${proof}`, redirect, scope)
    const as = await discoverAS()
    assert.equal(as.authorization_response_iss_parameter_supported, true)
    const keys = proof ? await oauth.generateKeyPair('ES256') : undefined
    const DPoP = proof ? oauth.DPoP(app.client, keys) : undefined
    const auth = oauth.PrivateKeyJwt(await app.privateKey(), app.modify(as.token_endpoint))

    const verifier = oauth.generateRandomCodeVerifier()
    const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
    const ask = new URL(as.authorization_endpoint)
    for (const [name, value] of Object.entries({
      response_type: 'code', client_id: app.client.client_id, redirect_uri: redirect, scope, state, nonce,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
      ...(proof && { dpop_jkt: await DPoP.calculateThumbprint() }),
    })) ask.searchParams.set(name, value)
    const callback = oauth.validateAuthResponse(as, app.client, await signIn(ask, ana, redirect), state)

    const additionalParameters = { udap: '1' }
    const exchanged = await oauth.authorizationCodeGrantRequest(as, app.client, auth, callback, redirect, verifier,
      { DPoP, additionalParameters })
    const tokens = await oauth.processAuthorizationCodeResponse(as, app.client, exchanged,
      { expectedNonce: nonce, requireIdToken: true })
    await oauth.validateApplicationLevelSignature(as, exchanged)
    assert.equal(tokens.token_type, proof ? 'dpop' : 'bearer')
    assert.equal(tokens.patient, ana.patient.split('/')[1])
    const claims = oauth.getValidatedIdTokenClaims(tokens)
    assert.equal(claims.fhirUser, `${base}/${ana.fhirUser}`)

    const info = await oauth.processUserInfoResponse(as, app.client, claims.sub,
      await oauth.userInfoRequest(as, app.client, tokens.access_token, { DPoP }))
    assert.equal(info.fhirUser, claims.fhirUser)
    const read = (token) => oauth.protectedResourceRequest(token, 'GET', new URL(`${base}/${ana.patient}`), undefined,
      undefined, { DPoP })
    const patient = await read(tokens.access_token)
    assert.equal(patient.status, 200)
    assert.equal((await patient.json()).id, tokens.patient)
    if (proof) { // a copy of the token is worth nothing to whoever has seen it pass
      const copied = await fetch(`${base}/${ana.patient}`, { headers: { authorization: `Bearer ${tokens.access_token}` } })
      assert.equal(copied.status, 401)
    }

    const refreshed = await oauth.processRefreshTokenResponse(as, app.client,
      await oauth.refreshTokenGrantRequest(as, app.client, auth, tokens.refresh_token, { DPoP, additionalParameters }))
    assert.notEqual(refreshed.refresh_token, tokens.refresh_token)
    assert.equal((await read(refreshed.access_token)).status, 200)

    const inspect = async (token) => oauth.processIntrospectionResponse(as, app.client,
      await oauth.introspectionRequest(as, app.client, auth, token, { additionalParameters }))
    const active = await inspect(refreshed.access_token)
    assert.equal(active.active, true)
    assert.equal(active.sub, claims.sub)
    assert.equal(active.cnf?.jkt, proof ? await DPoP.calculateThumbprint() : undefined)
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(as, app.client, auth, refreshed.refresh_token, { additionalParameters }))
    assert.equal((await inspect(refreshed.access_token)).active, false)
    await assert.rejects(read(refreshed.access_token), (e) => e.status === 401)
    await assert.rejects(async () => oauth.processRefreshTokenResponse(as, app.client, await oauth.refreshTokenGrantRequest(
      as, app.client, auth, refreshed.refresh_token, { DPoP, additionalParameters })), { error: 'invalid_grant' })
  })

  test(`openid-client: the same${proof ? ', with DPoP' : ''}`, options, async () => {
    const redirect = 'https://outside.example/openid-cb'
    const app = await App.register(manifest.communities[1], `https://outside.example/openid-client-${proof}`, redirect, scope)
    const config = await openid.discovery(issuer, app.client.client_id, {},
      openid.PrivateKeyJwt(await app.privateKey(), app.modify(`${issuer.href}/token`)))
    const DPoP = proof ? openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256')) : undefined
    const pkceCodeVerifier = openid.randomPKCECodeVerifier()
    const [expectedState, expectedNonce] = [openid.randomState(), openid.randomNonce()]
    const ask = openid.buildAuthorizationUrl(config, {
      redirect_uri: redirect, scope, state: expectedState, nonce: expectedNonce,
      code_challenge: await openid.calculatePKCECodeChallenge(pkceCodeVerifier), code_challenge_method: 'S256',
    })

    const udap = { udap: '1' }
    const tokens = await openid.authorizationCodeGrant(config, await signIn(ask, ben, redirect),
      { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true }, udap, { DPoP })
    const { sub, fhirUser } = tokens.claims()
    assert.equal(fhirUser, `${base}/${ben.fhirUser}`)
    assert.equal((await openid.fetchUserInfo(config, tokens.access_token, sub, { DPoP })).fhirUser, fhirUser)
    const url = new URL(`${base}/Observation?patient=${tokens.patient}&_count=3`)
    const page = await openid.fetchProtectedResource(config, tokens.access_token, url, 'GET', null, undefined, { DPoP })
    assert.equal(page.status, 200)
    assert.ok((await page.json()).entry.length > 0)

    const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token, udap, { DPoP })
    assert.equal(refreshed.token_type, proof ? 'dpop' : 'bearer')
    assert.equal((await openid.tokenIntrospection(config, refreshed.access_token, udap)).active, true)
    await openid.tokenRevocation(config, refreshed.refresh_token, udap)
    assert.equal((await openid.tokenIntrospection(config, refreshed.access_token, udap)).active, false)
  })
}

test('oauth4webapi signs a person in at the identity provider (Tiered OAuth)', options, async () => {
  const redirect = 'https://outside.example/tiered'
  const wanted = `${scope} udap`
  const app = await App.register(manifest.communities[0], 'https://outside.example/tiered-app', redirect, wanted)
  const as = await discoverAS()
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const ask = new URL(as.authorization_endpoint)
  for (const [name, value] of Object.entries({
    response_type: 'code', client_id: app.client.client_id, redirect_uri: redirect, scope: wanted, state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', idp: manifest.idp,
  })) ask.searchParams.set(name, value)

  const page = await visit(browser, new URL(redirect).origin, landing)
  await page.goto(ask.href, { timeout: patience })
  assert.equal(new URL(page.url()).origin, new URL(manifest.idp).origin, `the browser is at ${page.url()}, not at the identity provider`)
  const { url } = await allow(page, ana, redirect)
  await page.browserContext().close()
  const callback = oauth.validateAuthResponse(as, app.client, url, state)
  const auth = oauth.PrivateKeyJwt(await app.privateKey(), app.modify(as.token_endpoint))
  const tokens = await oauth.processAuthorizationCodeResponse(as, app.client,
    await oauth.authorizationCodeGrantRequest(as, app.client, auth, callback, redirect, verifier,
      { additionalParameters: { udap: '1' } }), { requireIdToken: true })
  assert.equal(tokens.patient, ana.patient.split('/')[1])
})

// fhirclient is a library for pages. The destination's CORS lets the page ask it straight,
// through both gateways: the page discovers, exchanges its code and reads by itself. Its
// backend has the key of the app's certificate and makes assertions, no more: window.fetch,
// the public hook of the library's "pure" build, puts them into requests for tokens.
test('fhirclient: a page authorizes, reads and refreshes without a proxy', options, async () => {
  const origin = 'https://localhost:18999' // of this machine, as the sandbox lists it and its community of edition 1 allows
  const redirect = `${origin}/app`
  const app = await App.register(manifest.communities[3], 'https://outside.example/fhirclient', redirect, scope)
  const library = readFileSync(path.join(path.dirname(createRequire(import.meta.url).resolve('fhirclient')),
    '../../build/fhir-client.pure.js'), 'utf8')
  const calls = []
  const backend = async (request) => {
    const { searchParams } = new URL(request.url())
    calls.push(searchParams.get('for'))
    return { status: 200, contentType: 'text/plain', body: await app.assertion(searchParams.get('aud')) }
  }
  const html = `<!doctype html><title>app</title><script>
    const fetched = window.fetch
    window.fetch = async (url, options = {}) => {
      if (!String(url).endsWith('/token')) return fetched(url, options)
      const form = new URLSearchParams(options.body)
      const query = new URLSearchParams({ aud: url, for: form.get('grant_type') })
      form.set('client_assertion', await (await fetched('/backend?' + query)).text())
      form.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
      form.set('udap', '1')
      return fetched(url, { method: 'POST', body: form })
    }
    </script><script src="/fhir-client.js"></script>`
  const page = await visit(browser, origin, (request) => {
    const { pathname } = new URL(request.url())
    if (pathname === '/backend') return backend(request)
    return pathname === '/fhir-client.js'
      ? { status: 200, contentType: 'text/javascript', body: library }
      : { status: 200, contentType: 'text/html', body: html }
  })
  await page.goto(`${origin}/launch`)
  await Promise.all([
    page.waitForNavigation({ timeout: patience }),
    page.evaluate((iss, clientId, scope, redirectUri) => {
      FHIR.oauth2.authorize({ iss, clientId, scope, redirectUri, pkceMode: 'required' })
    }, base, app.client.client_id, scope, redirect),
  ])
  await allow(page, ana, redirect)
  const seen = await page.evaluate(async () => {
    const client = await FHIR.oauth2.ready()
    const patient = await client.patient.read()
    const first = client.state.tokenResponse.access_token
    await client.refresh()
    const observations = await client.patient.request('Observation?_count=2')
    return {
      patient: patient.id, user: client.getFhirUser(), entries: observations.entry.length,
      refreshed: client.state.tokenResponse.access_token !== first,
    }
  })
  await page.browserContext().close()
  assert.deepEqual(seen, {
    patient: ana.patient.split('/')[1], user: ana.fhirUser, entries: 2, refreshed: true,
  })
  assert.deepEqual(calls, ['authorization_code', 'refresh_token'])
})
