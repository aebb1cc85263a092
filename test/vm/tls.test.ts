/**
 * Streams with TLS, QEMU's tls-creds-x509 on the other side, in both roles. QEMU has no guest here, but a hub of two TAPs:
 * what a host sends into tapA is a frame `to the guest` at hnA, and comes out of tapB.
 */

import type { ExecutionContext } from 'ava'
import { makeCredentials, type Terms } from '../support/credentials.ts'
import { connected, plugChardev, plugCredentials, plugFilter } from '../support/stream.ts'
import { joined, received, watch } from './streams.ts'
import { eventsOf, exactly, recordsOf, summaryOf, testsWith, type Vm } from './support.ts'

const tlsTest = testsWith(async site => {
  for (const name of ['tapA', 'tapB']) await site.tap(name)
  for (const name of ['tapI', 'tapO']) await site.lab.ask('tap', { name })
  const netdevs = { hnA: 'tapA', hnB: 'tapB' }
  const creds = await makeCredentials(site.socket('creds'))
  return { vm: await site.start({ name: 'hub', netdevs, hub: true }), creds }
})

let lastPort = 4000
const freePort = (): number => {
  lastPort += 1
  return lastPort
}

const ROLES = ['server', 'client'] as const
type Side = (typeof ROLES)[number]

for (const qemu of ROLES) {
  const listens = qemu === 'server' ? '' : ',server'

  tlsTest(`frames come from a QEMU that is the TLS ${qemu}, once and in order`, async (t, shared) => {
    const { site, vm, creds } = shared
    const port = freePort()
    const plug = () => plugSecure(t, vm, qemu, port, creds)
    if (qemu === 'server') await plug()
    const ferry = site.ferry(
      t,
      `--indev=tcp:localhost:${port}${listens}`,
      '--out-netdev=tapO',
      `--tls-creds=${creds}`,
      '--json',
    )
    await ferry.ready()
    if (qemu === 'client') await plug()
    await connected(vm, `c-${port}`)
    await plugFilter(t, vm, 'f0', { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: `c-${port}` })
    await site.send('tapA', { count: 1000, rate: 5000, size: 1514 })
    exactly(t, await received(site, 'tapO', 1000), [[0, 999]])
    t.like(summaryOf(t, await ferry.stop()), { captured: 1000, forwarded: 1000, tls_failures: 0 })
  })

  tlsTest(`frames reach a QEMU that is the TLS ${qemu}, once and in order`, async (t, shared) => {
    const { site, vm, creds } = shared
    const port = freePort()
    await watch(t, site, 'tapB')
    const plug = () => plugSecure(t, vm, qemu, port, creds)
    if (qemu === 'server') await plug()
    const end = `--outdev=tcp:localhost:${port}${listens},tls-creds=${creds}`
    const ferry = site.ferry(t, '--in-netdev=tapI', end, '--json')
    await ferry.ready()
    if (qemu === 'client') {
      await plug()
      await joined(ferry, 'output')
    }
    await plugFilter(t, vm, 'f0', {
      type: 'filter-redirector',
      netdev: 'hnA',
      queue: 'tx',
      indev: `c-${port}`,
    })
    await site.send('tapI', { count: 1000, rate: 5000, size: 1514 })
    exactly(t, await received(site, 'tapB', 1000), [[0, 999]])
    t.like(summaryOf(t, await ferry.stop()), { captured: 1000, forwarded: 1000, tls_failures: 0 })
  })
}

/** What is wrong with QEMU's credentials, and what we say of it as its client. */
const refusals: readonly (readonly [what: string, terms: Terms, code: string, message: RegExp])[] = [
  [
    'another CA',
    {},
    'TLS_UNKNOWN_CA',
    /the server's certificate is signed by a CA that is not in ca-cert\.pem/,
  ],
  ['an expired certificate', { until: -60 }, 'TLS_EXPIRED', /the server's certificate has expired \(20/],
  [
    'one of tomorrow',
    { from: 86_400 },
    'TLS_NOT_YET_VALID',
    /the server's certificate is not valid yet \(20/,
  ],
  [
    'another name',
    { names: ['there.example'] },
    'TLS_WRONG_NAME',
    /is not for 'localhost', but for there\.example/,
  ],
]

for (const [what, terms, code, message] of refusals) {
  tlsTest(`a QEMU server with ${what} is refused in one line`, async (t, { site, vm, creds }) => {
    const port = freePort()
    const own = what === 'another CA' ? {} : { of: creds }
    const theirs = await makeCredentials(site.socket(`creds-${port}`), { ...own, ...terms })
    await plugSecure(t, vm, 'server', port, theirs)
    const ends = ['--in-netdev=tapI', `--outdev=tcp:localhost:${port},tls-creds=${creds}`]
    const { status, stderr, stdout } = await site.ferry(t, ...ends, '--json').end()
    t.is(status, 1)
    t.deepEqual(
      recordsOf({ stdout }, 'error').map(error => error['code']),
      [code],
    )
    t.is(stderr.split('\n').filter(line => message.test(line)).length, 1, stderr)
  })
}

tlsTest(
  'a QEMU that is a client of another CA is told of once, and the next one is let in',
  async (t, shared) => {
    const { site, vm, creds } = shared
    const port = freePort()
    const end = `--outdev=tcp:localhost:${port},server,tls-creds=${creds}`
    const ferry = site.ferry(t, '--in-netdev=tapI', end, '--json')
    await ferry.ready()
    const theirs = await makeCredentials(site.socket(`creds-${port}`))
    const { unplug } = await plugSecure(t, vm, 'client', port, theirs)
    const warned = () => eventsOf(ferry, 'warning').filter(({ code }) => String(code).startsWith('TLS_'))
    await ferry.until(() => warned().length > 0, 'it is told of')
    await unplug()
    await plugSecure(t, vm, 'client', port, creds)
    await ferry.until(() => eventsOf(ferry, 'output_back').length === 1, 'the right one is let in')
    t.is(warned().length, 1)
    await ferry.stop()
  },
)

tlsTest('a QEMU without TLS is named, on either side', async (t, { site, vm, creds }) => {
  const port = freePort()
  await plugChardev(t, vm, `c-${port}`, { port, server: true })
  await plugFilter(t, vm, 'f0', { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: `c-${port}` })
  const client = site.ferry(t, `--indev=tcp:localhost:${port},tls-creds=${creds}`, '--out-netdev=tapO')
  await connected(vm, `c-${port}`)
  await site.send('tapA', { count: 10 })
  const { status, stderr } = await client.end()
  t.is(status, 1)
  t.regex(stderr, /the peer speaks no TLS/)

  const other = freePort()
  const end = `--indev=tcp:localhost:${other},server,tls-creds=${creds}`
  const server = site.ferry(t, end, '--out-netdev=tapO', '--json')
  await server.ready()
  await plugChardev(t, vm, `c-${other}`, { port: other })
  await plugFilter(t, vm, 'f1', { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: `c-${other}` })
  await site.send('tapA', { count: 10 })
  const told = () => eventsOf(server, 'warning').some(({ code }) => code === 'TLS_PLAIN_PEER')
  await server.until(told, 'a peer without TLS is told of')
  await server.stop()
})

tlsTest('a QEMU with TLS is named where we have none', async (t, { site, vm, creds }) => {
  const port = freePort()
  const server = site.ferry(t, `--indev=tcp:localhost:${port},server`, '--out-netdev=tapO', '--json')
  await server.ready()
  await plugSecure(t, vm, 'client', port, creds)
  const told = () =>
    eventsOf(server, 'input_missing').some(({ message }) => /speaks TLS/.test(String(message)))
  await server.until(told, 'a peer with TLS is told of')
  t.like(summaryOf(t, await server.stop()), { framing_errors: 1, forwarded: 0 })

  const other = freePort()
  const output = site.ferry(t, '--in-netdev=tapI', `--outdev=tcp:localhost:${other},server`, '--json')
  await output.ready()
  await plugSecure(t, vm, 'client', other, creds)
  const named = () => eventsOf(output, 'output_missing').some(({ code }) => code === 'TLS_PEER')
  await output.until(named, 'a peer with TLS is told of')
  t.like(summaryOf(t, await output.stop()), { forwarded: 0 })
})

/** A chardev of QEMU with TLS, called c-PORT. */
async function plugSecure(t: ExecutionContext, vm: Vm, side: Side, port: number, directory: string) {
  const tlsCreds = `t-${port}-${directory.split('/').at(-1)}`
  await plugCredentials(t, vm, tlsCreds, side, directory)
  const reconnect = side === 'client' ? { reconnect: 1 } : {}
  const place = { port, server: side === 'server', tlsCreds, ...reconnect }
  return plugChardev(t, vm, `c-${port}`, place)
}
