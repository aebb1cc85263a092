/**
 * Two guests talk to each other, each behind a `-netdev stream`: joined by two tapferrys, one for each direction, and
 * directly, so that what the guests can do themselves is known.
 *
 * QEMU's stream is one connection for both directions. The test takes it, reads nothing, and hands it to both
 * tapferrys: what the one takes frames from, the other one writes to.
 */

import type { Socket } from 'node:net'
import type { ExecutionContext } from 'ava'
import { acceptPaused } from '../support/stream.ts'
import type { Vm } from '../support/vm.ts'
import { type Site, summaryOf, testsWith } from './support.ts'

const BYTES = 8_000_000
const PORT = 5001
const PINGS = 50

const vmTest = testsWith(async site => {
  const stream = (socket: string, server: 'on' | 'off') => ({
    backend: `stream,addr.type=unix,addr.path=${site.socket(socket)},server=${server}`,
  })
  const joined = ['joinedA', 'joinedB'].map(name => acceptPaused(site.socket(name)))
  const image = await site.image()
  const vm = async (name: string, joins: string, server: 'on' | 'off') => {
    const netdevs = { joined: stream(joins, 'off'), direct: stream('direct', server) }
    return site.start({ name, netdevs, image })
  }
  // The one that listens first: the other connects once.
  const a = await vm('a', 'joinedA', 'on')
  const b = await vm('b', 'joinedB', 'off')
  await Promise.all([a.console.booted(), b.console.booted()])
  for (const [nic, network] of ['10.20.0', '10.21.0'].entries()) {
    await a.console.ask(`address eth${nic} ${network}.1/24`, 'addressed')
    await b.console.ask(`address eth${nic} ${network}.2/24`, 'addressed')
  }
  return { a, b, sides: await Promise.all(joined) }
})

/** Each guest pings the other one and sends it a stream, over the network with this prefix. */
async function talk(t: ExecutionContext, a: Vm, b: Vm, network: string): Promise<void> {
  const ways = [
    { from: a, to: b, address: `${network}.2` },
    { from: b, to: a, address: `${network}.1` },
  ]
  for (const { from, to, address } of ways) {
    t.like(await from.console.ask(`ping ${address} ${PINGS}`, 'pinged'), { answers: PINGS })
    const [received, sent] = await Promise.all([
      to.console.ask(`receive ${PORT}`, 'received'),
      from.console.ask(`transfer ${address}:${PORT} ${BYTES}`, 'transferred'),
    ])
    t.like(received, { bytes: BYTES, checksum: sent['checksum'] })
  }
}

/** tapferry in both directions between two connections. */
function join(t: ExecutionContext, site: Site, sides: readonly Socket[]) {
  const ways = [
    ['--indev=fd:3', '--outdev=fd:4'],
    ['--indev=fd:4', '--outdev=fd:3'],
  ]
  return ways.map(ends => site.ferryWith(t, sides, ...ends, '--json'))
}

vmTest('two guests talk over a stream without tapferry', async (t, { a, b }) => {
  await talk(t, a, b, '10.21.0')
})

vmTest(
  'two guests on -netdev stream, joined by two tapferrys, ping each other and transfer',
  async (t, shared) => {
    const { site, a, b, sides } = shared
    const ferries = join(t, site, sides)
    await Promise.all(ferries.map(ferry => ferry.ready()))
    await talk(t, a, b, '10.20.0')
    for (const ferry of ferries) {
      const summary = summaryOf(t, await ferry.stop())
      t.like(summary, { dropped: 0, held: 0 })
      // Each direction has the requests of one guest, the answers of the other one, and a transfer.
      t.true(Number(summary['forwarded']) > 2 * PINGS + BYTES / 1500, String(summary['forwarded']))
    }
  },
)

vmTest('when a VM ends, so do those that were given its connection', async (t, { site, a, sides }) => {
  const [reads, writes] = join(t, site, sides)
  if (reads === undefined || writes === undefined) return t.fail()
  await Promise.all([reads.ready(), writes.ready()])
  await a.kill()
  t.like(summaryOf(t, await reads.end()), { end: 'input_closed' })
  const { status, stdout, stderr } = await writes.end()
  t.is(status, 1, stderr)
  t.regex(stdout + stderr, /STREAM_CLOSED|closed/)
  for (const side of sides) side.destroy()
})
