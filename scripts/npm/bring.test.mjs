// The page for those who bring a client, in a session of a running sandbox's lab: every
// program on it is taken from the page and run, with the commands that the page has for
// it, until it has a token and a resource. What arrived is then without a violation.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { manifest, record } from './sandbox.mjs'

const options = { timeout: 300_000 }
const entities = { amp: '&', lt: '<', gt: '>', '#34': '"', '#39': "'", '#43': '+' }
const plain = (html) => html.replace(/&(#?\w+);/g, (whole, name) => entities[name] ?? assert.fail(`entity ${whole}`))

let session, work
before(async () => {
  const answer = await fetch(`${manifest.lab}/api/sessions`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"name":"programs of the page"}',
  })
  assert.equal(answer.status, 201)
  session = await answer.json()
  work = mkdtempSync(path.join(tmpdir(), 'bring-'))
  // Debian's Python has PyJWT and cryptography as Debian's packages.
  mkdirSync(path.join(work, 'bin'))
  symlinkSync('/usr/bin/python3', path.join(work, 'bin', 'python3'))
  symlinkSync(path.resolve('scripts/npm/node_modules'), path.join(work, 'node_modules'))
}, options)
after(() => rmSync(work, { recursive: true, force: true }))

// get returns the text of a page that is there.
async function get(url) {
  // The programs take a minute: a connection that is kept so long is closed by the other side.
  const answer = await fetch(url, { headers: { connection: 'close' } })
  assert.equal(answer.status, 200, url)
  return answer.text()
}

// block returns the one block of code with an attribute.
function block(page, attribute, value) {
  const found = [...page.matchAll(new RegExp(`<pre tabindex="0" data-${attribute}="${value}"><code>(.*?)</code></pre>`, 'gs'))]
  assert.equal(found.length, 1, `${attribute} ${value}`)
  return plain(found[0][1])
}

// shell runs commands as a person would who pastes them.
function shell(commands, dir) {
  try {
    return execFileSync('bash', ['-e', '-o', 'pipefail', '-c', commands], {
      cwd: dir, encoding: 'utf8', maxBuffer: 16 << 20, stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: `${path.join(work, 'bin')}:${process.env.PATH}`, HOME: dir, TMPDIR: tmpdir(), LANG: 'C.UTF-8' },
    })
  } catch (e) {
    assert.fail(`${commands}\n${e.stdout}\n${e.stderr}`)
  }
}

for (const [language, file] of [
  ['shell', 'client.sh'], ['javascript', 'client.mjs'], ['csharp', 'Client.cs'], ['java', 'Client.java'], ['python', 'client.py'],
]) {
  test(`${file} gets a token and a Patient`, options, async () => {
    const page = await get(`${session.page}bring?name=${language}`)
    const dir = path.join(work, language)
    mkdirSync(dir)
    const fingerprints = [...page.matchAll(/<code class="fingerprint">([^<]+)</g)].map((m) => plain(m[1]))
    const printed = shell(block(page, 'run', 'setup'), dir)
    assert.deepEqual([...printed.matchAll(/sha256 Fingerprint=(\S+)/gi)].map((m) => m[1]), fingerprints.toReversed())

    writeFileSync(path.join(dir, file), block(page, 'file', file))
    const out = shell(block(page, 'run', language), dir)
    const bundle = out.slice(out.indexOf('{'))
    record(bundle)
    assert.match(out, /client_id \S+/)
    assert.equal(JSON.parse(bundle).entry[0].resource.resourceType, 'Patient')
    assert.ok(JSON.parse(bundle).link[0].url.startsWith(`${session.base}/Patient?`))
  })
}

test('client.sh gets a token in every community of the lab', options, async () => {
  const communities = [...(await get(`${session.page}bring`)).matchAll(/<option value="([^"]+)"/g)].map((m) => plain(m[1]))
  assert.ok(communities.length > 2)
  for (const [i, community] of communities.entries()) {
    const page = await get(`${session.page}bring?${new URLSearchParams({ name: `community-${i}`, community })}`)
    const dir = path.join(work, `community-${i}`)
    mkdirSync(dir)
    shell(block(page, 'run', 'setup'), dir)
    writeFileSync(path.join(dir, 'client.sh'), block(page, 'file', 'client.sh'))
    assert.match(shell(block(page, 'run', 'shell'), dir), /"resourceType":"Patient"/, community)
  }
})

test('the programs keep every rule that they exercise', options, async () => {
  const report = JSON.parse(await get(`${session.page}api/report.json`))
  const red = report.rows.filter((o) => o.verdict === 'violated' || o.verdict === 'warned')
  assert.deepEqual(red.map((o) => `${o.row} ${o.text}`), [])
  assert.ok(report.rows.filter((o) => o.verdict === 'shown').length > 20)
})
