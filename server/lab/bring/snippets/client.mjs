// Needs Node 20 and jose: npm install jose
// Beside it: tls.pem, anchor.pem, client.pem and client.key. Run it as
//   NODE_EXTRA_CA_CERTS=tls.pem node client.mjs
import { X509Certificate, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import * as jose from 'jose'

const base = '[[.Base]]'
const community = '[[.Community]]'
const client = '[[.Client]]'

const certificates = (pem) => pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
  .map((text) => new X509Certificate(text))
const anchors = certificates(readFileSync('anchor.pem', 'utf8'))
const x5c = certificates(readFileSync('client.pem', 'utf8')).map((c) => c.raw.toString('base64'))
const key = await jose.importPKCS8(readFileSync('client.key', 'utf8'), 'RS256')

// request returns the JSON of an answer that succeeded.
async function request(url, options) {
  const answer = await fetch(url, options)
  const body = await answer.text()
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${body}`)
  return JSON.parse(body)
}

// 1. The signed metadata: chain to the anchor, signature, issuer and time.
const plain = await request(`${base}/.well-known/udap?community=${encodeURIComponent(community)}`)
const header = jose.decodeProtectedHeader(plain.signed_metadata)
const chain = header.x5c.map((der) => new X509Certificate(Buffer.from(der, 'base64')))
const now = new Date()
for (const [i, c] of chain.entries()) {
  const issuer = chain[i + 1] ?? anchors.find((a) => c.checkIssued(a))
  if (!issuer || !c.checkIssued(issuer) || !c.verify(issuer.publicKey)) throw new Error('no chain to the anchor')
  if (new Date(c.validFrom) > now || new Date(c.validTo) < now) throw new Error('a certificate is not valid now')
}
if (!chain[0].subjectAltName.split(', ').includes(`URI:${base}`)) throw new Error('the certificate is of another server')
const { payload: metadata } = await jose.jwtVerify(plain.signed_metadata, chain[0].publicKey, {
  issuer: base, subject: base, algorithms: ['RS256'], requiredClaims: ['exp', 'jti'],
})

// sign returns a JWT that lives for five minutes, with the certificate chain.
const sign = (issuer, audience, claims) => new jose.SignJWT(claims)
  .setProtectedHeader({ alg: 'RS256', x5c })
  .setIssuer(issuer).setSubject(issuer).setAudience(audience)
  .setIssuedAt().setExpirationTime('5m').setJti(randomUUID())
  .sign(key)

// 2. Registration: once. Keep the client_id.
const registered = await request(metadata.registration_endpoint, {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({
    udap: '1',
    software_statement: await sign(client, metadata.registration_endpoint, {
      client_name: 'My client',
      contacts: ['mailto:me@example.org'],
      client_uri: 'https://example.org/',
      tos_uri: 'https://example.org/terms',
      policy_uri: 'https://example.org/privacy',
      grant_types: ['client_credentials'],
      token_endpoint_auth_method: 'private_key_jwt',
      scope: 'system/Patient.rs',
    }),
  }),
})
console.log('client_id', registered.client_id)

// 3. A token, and a resource.
const granted = await request(metadata.token_endpoint, {
  method: 'POST',
  body: new URLSearchParams({
    grant_type: 'client_credentials',
    scope: 'system/Patient.rs',
    udap: '1',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: await sign(registered.client_id, metadata.token_endpoint, {
      extensions: {
        'hl7-b2b': {
          version: '1',
          organization_id: 'https://example.org/organization',
          organization_name: '[[.Organization]]',
          purpose_of_use: ['[[.Purpose]]'],
        },
      },
    }),
  }),
})
const found = await request(`${base}/Patient?_count=1`, {
  headers: { authorization: `Bearer ${granted.access_token}`, accept: 'application/fhir+json' },
})
console.log(JSON.stringify(found, null, 2))
