// What the tests know of a running sandbox: its manifest, certificates minted
// by OpenSSL from the manifest's issuers, and a log of every FHIR body seen.
import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createPrivateKey, X509Certificate } from 'node:crypto'

export const dir = process.env.SANDBOX_DIR
if (!dir) throw new Error('SANDBOX_DIR names no sandbox')
export const manifest = JSON.parse(readFileSync(path.join(dir, 'sandbox.json'), 'utf8'))
const bodies = process.env.FHIR_BODIES

// record appends one FHIR body, as it came, for the validator.
export function record(body) {
  if (bodies) appendFileSync(bodies, body.trim().replaceAll('\n', ' ') + '\n')
}

// openssl runs the program and returns what it printed.
export function openssl(args, input) {
  return execFileSync('openssl', args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] })
}

// mint has OpenSSL make a key and a leaf of the community with the given SAN URI.
export function mint(community, uri, kind) {
  const work = mkdtempSync(path.join(tmpdir(), 'outside-'))
  const file = (name) => path.join(work, name)
  const genpkey = kind === 'ES256'
    ? ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256']
    : ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048']
  openssl(['genpkey', ...genpkey, '-out', file('key.pem')])
  openssl(['req', '-new', '-key', file('key.pem'), '-subj', '/CN=Minted by OpenSSL', '-out', file('csr.pem')])
  writeFileSync(file('ext.cnf'), [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    'subjectKeyIdentifier=hash',
    'authorityKeyIdentifier=keyid',
    `subjectAltName=URI:${uri}`,
    `crlDistributionPoints=URI:${community.crl}`,
  ].join('\n'))
  const issuer = (name) => path.join(dir, community.issuer[name])
  openssl(['x509', '-req', '-in', file('csr.pem'), '-CA', issuer('cert'), '-CAkey', issuer('key'),
    '-set_serial', '0x' + crypto.randomUUID().replaceAll('-', '').replace(/^./, '5'),
    '-days', '2', '-sha256', '-extfile', file('ext.cnf'), '-out', file('leaf.pem')])
  const leaf = readFileSync(file('leaf.pem'), 'utf8')
  const chain = [leaf, ...certificatesIn(readFileSync(issuer('cert'), 'utf8'))]
  return {
    uri, alg: kind, pem: readFileSync(file('key.pem'), 'utf8'),
    x5c: chain.map((pem) => new X509Certificate(pem).raw.toString('base64')),
    key: createPrivateKey(readFileSync(file('key.pem'))),
  }
}

function certificatesIn(pem) {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
}

// now is the time in whole seconds since 1970, as JWT claims want it.
export const now = () => Math.floor(Date.now() / 1000)
