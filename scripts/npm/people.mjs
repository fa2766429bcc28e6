// A person in a real Chromium, who signs in at the sandbox's pages and allows what is
// asked for, and an app's own certificate in the hands of software that we did not write.
import { existsSync } from 'node:fs'
import assert from 'node:assert/strict'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import puppeteer from 'puppeteer-core'
import { manifest, mint, now } from './sandbox.mjs'

export const base = manifest.publicBase
export const issuer = new URL(base.replace(/\/fhir$/, '/oauth'))

// A person's part is slow where the machine is busy.
export const patience = 120_000

const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync)

// browse starts a Chromium. It does not verify the sandbox's TLS certificates: the tests'
// own requests do.
export async function browse() {
  assert.ok(chromium, 'no Chromium is installed')
  return puppeteer.launch({
    executablePath: chromium,
    acceptInsecureCerts: true,
    // A page that a test serves has no address: Chromium would ask a person whether it may
    // connect to this machine.
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-features=LocalNetworkAccessChecks'],
    protocolTimeout: patience,
  })
}

// visit opens a tab of a person who has no cookies yet. Whatever is asked of origin is
// answered by serve, as that origin does not exist.
export async function visit(browser, origin, serve) {
  const context = await browser.createBrowserContext()
  const page = await context.newPage()
  page.setDefaultTimeout(patience)
  await page.setRequestInterception(true)
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) return request.continue()
    Promise.resolve(serve(request)).then((answer) => request.respond(answer), (fault) => {
      request.respond({ status: 500, body: String(fault) })
    })
  })
  return page
}

// allow signs in and agrees to everything, until the browser is at a URL that begins with
// where. It returns that URL and the pages that were seen.
export async function allow(page, user, where) {
  const seen = []
  for (let step = 0; step < 12; step++) {
    const url = page.url()
    if (url.startsWith(where)) return { url: new URL(url), seen }
    const doing = await page.evaluate(() => {
      const button = (value) => document.querySelector(`button[name="do"][value="${value}"]`)
      return document.querySelector('#username') ? 'signin' : ['choose', 'approve'].find(button)
    })
    assert.ok(doing, `nothing to do at ${url}: ${await page.evaluate(() => document.body.innerText)}`)
    seen.push(`${doing} at ${new URL(url).port}`)
    if (doing === 'signin') {
      await page.$eval('#username', (input) => { input.value = '' })
      await page.type('#username', user.username)
      await page.type('#password', user.password)
    }
    await Promise.all([
      page.waitForNavigation({ timeout: patience }),
      page.click(`button[name="do"][value="${doing}"]`),
    ])
  }
  throw new Error(`no end after ${seen}`)
}

// App is a client of people that is registered with a certificate of a community.
export class App {
  static async register(community, uri, redirect, scope, more = {}) {
    const app = new App()
    app.id = mint(community, uri, 'ES256')
    app.redirect = redirect
    app.community = community.uri
    const found = await fetch(`${base}/.well-known/udap?community=${encodeURIComponent(community.uri)}`)
    assert.equal(found.status, 200)
    app.udap = await found.json()
    const endpoint = app.udap.registration_endpoint
    const statement = await new jose.SignJWT({
      iss: uri, sub: uri, aud: endpoint, iat: now(), exp: now() + 300, jti: crypto.randomUUID(),
      client_name: 'Outside app', contacts: ['mailto:owner@outside.example'],
      logo_uri: 'https://outside.example/logo.png', redirect_uris: [redirect],
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
      token_endpoint_auth_method: 'private_key_jwt', scope, ...more,
    }).setProtectedHeader({ alg: app.id.alg, x5c: app.id.x5c }).sign(app.id.key)
    const answer = await fetch(endpoint, {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ software_statement: statement, udap: '1' }),
    })
    app.registered = await answer.json()
    assert.ok(answer.ok, `${answer.status} ${app.registered.error}: ${app.registered.error_description}`)
    app.client = { client_id: app.registered.client_id, token_endpoint_auth_method: 'private_key_jwt' }
    return app
  }

  // modify makes an assertion of oauth4webapi or openid-client one of UDAP: its hook is public.
  modify(audience) {
    return {
      [oauth.modifyAssertion]: (header, payload) => {
        header.x5c = this.id.x5c
        payload.aud = audience
      },
    }
  }

  async privateKey() {
    return jose.importPKCS8(this.id.pem, this.id.alg)
  }

  // assertion is an authentication token of the app's own making.
  async assertion(audience) {
    const id = this.client.client_id
    return new jose.SignJWT({ iss: id, sub: id, aud: audience, iat: now(), exp: now() + 300, jti: crypto.randomUUID() })
      .setProtectedHeader({ alg: this.id.alg, x5c: this.id.x5c }).sign(this.id.key)
  }
}
