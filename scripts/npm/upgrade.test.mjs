// The gateway before Node's own HTTP server, which stops reading HTTP where a request has
// an Upgrade field and a listener is there: what both read of a connection must be the
// same requests. GATEWAY must name the gateway's program.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import https from 'node:https'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import tls from 'node:tls'

const dir = mkdtempSync(path.join(tmpdir(), 'upgrade-'))
after(() => rmSync(dir, { recursive: true }))
const file = (name) => path.join(dir, name)
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
  '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,DNS:next.localhost',
  '-keyout', file('key.pem'), '-out', file('cert.pem')], { stdio: 'pipe' })
const pem = { key: readFileSync(file('key.pem')), cert: readFileSync(file('cert.pem')) }

// nodeServer answers each request, and, with a listener, each upgrade as ordinary HTTP would.
async function nodeServer(listener) {
  const seen = []
  const server = https.createServer(pem, (request, response) => {
    seen.push(`${request.method} ${request.url}`)
    request.resume().on('end', () => response.end('ok'))
  })
  if (listener) {
    server.on('upgrade', (request, socket) => {
      seen.push(`${request.method} ${request.url}`)
      socket.on('error', () => {})
      socket.on('data', (more) => seen.push(`not HTTP: ${more}`))
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')
    })
  }
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  return { seen, port: server.address().port, stop: () => { server.closeAllConnections(); server.close() } }
}

async function gateway(next) {
  writeFileSync(file('gateway.yaml'), JSON.stringify({
    listen: '127.0.0.1:0',
    tls: [{ cert: 'cert.pem', key: 'key.pem' }],
    routes: [{ name: 'x', hosts: ['fhir.example'], next: 'https://next.localhost', dial: `127.0.0.1:${next}`, ca: 'cert.pem' }],
  }))
  const child = spawn(process.env.GATEWAY, ['-config', file('gateway.yaml')], { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout })) {
    const port = line.match(/^ready: listening on .*:(\d+)$/)?.[1]
    if (port) return { port, stop: () => child.kill() }
  }
  throw new Error('the gateway did not start')
}

// ask returns all that is answered on one connection.
const ask = (port, text) => new Promise((done, failed) => {
  let got = ''
  const c = tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca: pem.cert }, () => c.end(text))
  c.on('data', (more) => { got += more }).on('end', () => done(got)).on('error', failed)
})

const request = (method, url, fields) => `${method} ${url} HTTP/1.1\r\nHost: fhir.example\r\n${fields}\r\n`
const plain = request('GET', '/plain', '')
const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n'
const cases = {
  'an upgrade': [request('GET', '/up', upgrade), ['GET /plain', 'GET /up'], ['200', '200']],
  'an upgrade to h2c': [request('GET', '/up', upgrade.replace('websocket', 'h2c')), ['GET /plain', 'GET /up'], ['200', '200']],
  'Upgrade alone': [request('GET', '/up', 'Upgrade: x\r\n'), ['GET /plain', 'GET /up'], ['200', '200']],
  'a body': [request('POST', '/up', `${upgrade}Content-Length: 5\r\n`) + 'GET /', ['GET /plain'], ['200', '400']],
  'chunks': [request('POST', '/up', `${upgrade}Transfer-Encoding: chunked\r\n`) + '3\r\nGET\r\n0\r\n\r\n', ['GET /plain'], ['200', '400']],
  'CONNECT': [request('CONNECT', 'fhir.example:443', ''), ['GET /plain'], ['200', '400']],
}

for (const listener of [true, false]) {
  for (const [name, [text, requests, statuses]] of Object.entries(cases)) {
    test(`${name}, ${listener ? 'with' : 'without'} a listener: nothing follows`, { timeout: 120_000 }, async () => {
      const server = await nodeServer(listener)
      const g = await gateway(server.port)
      try {
        const got = await ask(g.port, plain + text + plain)
        assert.deepEqual([...got.matchAll(/HTTP\/1.1 (\d+)/g)].map((m) => m[1]), statuses, got)
        assert.deepEqual(server.seen, requests)
      } finally {
        g.stop()
        server.stop()
      }
    })
  }
}
