// A client of UDAP from oauth4webapi and jose in a session of the lab, and the hooks by
// which a mutant of it makes one mistake. The libraries are as npm has them: each mistake
// goes through their public options.
import assert from 'node:assert/strict'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { manifest, mint, now } from './sandbox.mjs'

export const community = manifest.communities[0]
export const redirect = 'https://outside.example/cb'

const json = { 'content-type': 'application/json' }

// Session is one session of the lab.
export class Session {
  static async open(name, more = {}) {
    const answer = await fetch(`${manifest.lab}/api/sessions`, {
      method: 'POST', headers: json, body: JSON.stringify({ name, ...more }),
    })
    const text = await answer.text()
    assert.equal(answer.status, 201, text)
    return Object.assign(new Session(), JSON.parse(text))
  }

  async report() {
    const answer = await fetch(`${this.page}api/report.json`)
    assert.equal(answer.status, 200)
    return answer.json()
  }

  async close() {
    const answer = await fetch(`${this.page}api/session`, { method: 'DELETE' })
    assert.ok(answer.ok, `${answer.status} ${await answer.text()}`)
  }
}

export const b2b = {
  version: '1',
  organization_id: 'https://outside.example/organization',
  organization_name: 'Outside Software',
  purpose_of_use: ['urn:oid:2.16.840.1.113883.5.8#TREAT'],
}

// Client makes what its mistake leaves right. A mistake has any of these functions, each of
// which changes what it is given:
//
//   statement(claims, header, client)   the software statement before it is signed
//   registration(body, client)          the body of the registration request
//   assertion(payload, header, client)  the authentication token before it is signed
//   tokens(request, client)             the token request: its headers, and its body as URLSearchParams
//   authorize(parameters, client)       the query of the authorization request
//   sign(key, client)                   returns the key that signs instead
export class Client {
  constructor(session, uri, mistake = {}, kind = 'ES256') {
    this.session = session
    this.mistake = mistake
    this.id = mint(community, uri, kind)
    this.redirect = redirect
  }

  async discover() {
    const base = this.session.base
    const answer = await fetch(`${base}/.well-known/udap?community=${encodeURIComponent(community.uri)}`)
    assert.equal(answer.status, 200)
    const plain = await answer.json()
    const { x5c } = jose.decodeProtectedHeader(plain.signed_metadata)
    const key = await jose.importX509(`-----BEGIN CERTIFICATE-----\n${x5c[0]}\n-----END CERTIFICATE-----`, 'RS256')
    const { payload } = await jose.jwtVerify(plain.signed_metadata, key, { issuer: base, subject: base, algorithms: ['RS256'] })
    this.udap = { ...plain, ...payload }
    const issuer = new URL(base.replace(/\/fhir$/, '/oauth'))
    const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2' })
    this.as = await oauth.processDiscoveryResponse(issuer, found)
  }

  // claims are those of a software statement of either grant.
  claims(grant) {
    const endpoint = this.udap.registration_endpoint
    const common = {
      iss: this.id.uri, sub: this.id.uri, aud: endpoint, iat: now(), exp: now() + 300, jti: crypto.randomUUID(),
      client_name: 'Outside client', contacts: ['mailto:owner@outside.example'],
      token_endpoint_auth_method: 'private_key_jwt',
    }
    if (grant === 'client_credentials') {
      return { ...common, grant_types: [grant], scope: 'system/Patient.rs system/Observation.rs' }
    }
    return {
      ...common, grant_types: [grant, 'refresh_token'], response_types: ['code'], redirect_uris: [this.redirect],
      logo_uri: 'https://outside.example/logo.png', scope: 'patient/Patient.rs launch/patient offline_access',
    }
  }

  async statement(grant) {
    const claims = this.claims(grant)
    const header = { alg: this.id.alg, x5c: this.id.x5c }
    this.mistake.statement?.(claims, header, this)
    const key = this.mistake.sign?.(this.id.key, this) ?? this.id.key
    return new jose.SignJWT(claims).setProtectedHeader(header).sign(key)
  }

  async register(grant = 'client_credentials') {
    const body = { software_statement: await this.statement(grant), udap: '1' }
    this.mistake.registration?.(body, this)
    const as = { issuer: this.udap.registration_endpoint, registration_endpoint: this.udap.registration_endpoint }
    const answer = await oauth.dynamicClientRegistrationRequest(as, body)
    const registered = await oauth.processDynamicClientRegistrationResponse(answer)
    this.client = { client_id: registered.client_id, token_endpoint_auth_method: 'private_key_jwt' }
    return registered
  }

  // cancel sends the statement as it is: the answer is none of a registration.
  async cancel() {
    const body = { software_statement: await this.statement('client_credentials'), udap: '1' }
    const answer = await fetch(this.udap.registration_endpoint, {
      method: 'POST', headers: json, body: JSON.stringify(body),
    })
    await answer.text()
  }

  // proof is oauth4webapi's private_key_jwt with the certificates that UDAP wants in it.
  async proof(extensions) {
    const key = this.mistake.assertion || !this.mistake.sign ? this.id.key : this.mistake.sign(this.id.key, this)
    const imported = await jose.importPKCS8(key.export({ type: 'pkcs8', format: 'pem' }), this.id.alg)
    return oauth.PrivateKeyJwt(imported, {
      [oauth.modifyAssertion]: (header, payload) => {
        header.x5c = this.id.x5c
        payload.aud = this.udap.token_endpoint
        if (extensions) payload.extensions = structuredClone(extensions)
        this.mistake.assertion?.(payload, header, this)
      },
    })
  }

  // options of a token request: oauth4webapi's hook sees it before it is sent.
  options(more = {}) {
    return {
      ...more,
      [oauth.customFetch]: (url, init) => {
        this.mistake.tokens?.(init, this)
        return fetch(url, init)
      },
    }
  }

  async token(scope = 'system/Patient.rs') {
    const proof = await this.proof({ 'hl7-b2b': b2b })
    const answer = await oauth.clientCredentialsGrantRequest(this.as, this.client, proof, { scope, udap: '1' }, this.options())
    return oauth.processClientCredentialsResponse(this.as, this.client, answer)
  }

  // ask returns the URL of an authorization request, and what the client must remember.
  async ask() {
    const verifier = this.mistake.verifier ?? oauth.generateRandomCodeVerifier()
    const state = this.mistake.state ?? oauth.generateRandomState()
    const parameters = {
      response_type: 'code', client_id: this.client.client_id, redirect_uri: this.redirect, state,
      scope: 'patient/Patient.rs launch/patient offline_access',
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
    }
    this.mistake.authorize?.(parameters, this)
    const url = new URL(this.udap.authorization_endpoint)
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
    return { url, state, verifier }
  }

  validate(url, state) {
    return oauth.validateAuthResponse(this.as, this.client, url, state)
  }

  async exchange(callback, verifier) {
    const answer = await oauth.authorizationCodeGrantRequest(this.as, this.client, await this.proof(), callback,
      this.redirect, verifier, this.options({ additionalParameters: { udap: '1' } }))
    return oauth.processAuthorizationCodeResponse(this.as, this.client, answer)
  }

  async refresh(token) {
    const answer = await oauth.refreshTokenGrantRequest(this.as, this.client, await this.proof(), token,
      this.options({ additionalParameters: { udap: '1' } }))
    return oauth.processRefreshTokenResponse(this.as, this.client, answer)
  }

  read(path, token) {
    return fetch(`${this.session.base}/${path}`, { headers: { authorization: `Bearer ${token}` } })
  }
}
