/**
 * QEMU's netdevs that are sockets, at the other side of streams and of datagrams, in every role. A hub of QEMU's joins
 * two of each kind: what tapferry sends into the one comes out of the other, and tapferry takes it from there.
 *
 * A connection of theirs carries both directions, and tapferry has one: what the hub sends to the first, too, must keep
 * nobody from sending.
 */

import type { ExecutionContext } from 'ava'
import type { Running } from '../support/cli.ts'
import { counted, joined, received } from './streams.ts'
import { exactly, type Site, summaryOf, testsWith } from './support.ts'

/** As many as wait in a UDP socket of QEMU's, however busy the machine is. */
const FRAMES = 60
const SEGMENTS = 40

interface Kind {
  /** The netdev in QEMU's words, and tapferry's address, each at this number. */
  readonly netdev: (number: number, site: Site) => string
  readonly ends: (number: number, site: Site) => { indev: string; outdev: string }
}

const inet = (name: string, port: number) => `${name}.host=127.0.0.1,${name}.port=${port}`
const both = (address: string) => ({ indev: address, outdev: address })
const udpEnds = (port: number) => ({
  indev: `dgram:localhost:${port + 100}`,
  outdev: `dgram:localhost:${port}`,
})

/** Those that somebody connects to, or nobody. */
const SERVERS: Readonly<Record<string, Kind>> = {
  'stream,server=on,unix': {
    netdev: (n, site) => `stream,server=on,addr.type=unix,addr.path=${site.socket(`stream${n}`)}`,
    ends: (n, site) => both(`unix:${site.socket(`stream${n}`)}`),
  },
  'stream,server=on,inet': {
    netdev: n => `stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=${4000 + n}`,
    ends: n => both(`tcp:127.0.0.1:${4000 + n}`),
  },
  'socket,listen': {
    netdev: n => `socket,listen=127.0.0.1:${4010 + n}`,
    ends: n => both(`tcp:127.0.0.1:${4010 + n}`),
  },
  'dgram,unix': {
    netdev: (n, site) =>
      `dgram,local.type=unix,local.path=${site.socket(`dgram${n}`)},remote.type=unix,remote.path=${site.socket(`ferry${n}`)}`,
    ends: (n, site) => ({
      indev: `dgram:unix:${site.socket(`ferry${n}`)}`,
      outdev: `dgram:unix:${site.socket(`dgram${n}`)}`,
    }),
  },
  'dgram,inet': {
    netdev: n =>
      `dgram,local.type=inet,${inet('local', 4020 + n)},remote.type=inet,${inet('remote', 4120 + n)}`,
    ends: n => udpEnds(4020 + n),
  },
  'socket,udp': {
    netdev: n => `socket,udp=127.0.0.1:${4130 + n},localaddr=127.0.0.1:${4030 + n}`,
    ends: n => udpEnds(4030 + n),
  },
}

/** Those that connect once, when QEMU starts. */
const CLIENTS: Readonly<Record<string, Kind>> = {
  'stream,server=off,unix': {
    netdev: (n, site) => `stream,server=off,addr.type=unix,addr.path=${site.socket(`client${n}`)}`,
    ends: (n, site) => both(`unix:${site.socket(`client${n}`)},server`),
  },
  'stream,server=off,inet': {
    netdev: n => `stream,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=${4040 + n}`,
    ends: n => both(`tcp:localhost:${4040 + n},server`),
  },
  'socket,connect': {
    netdev: n => `socket,connect=127.0.0.1:${4050 + n}`,
    ends: n => both(`tcp:localhost:${4050 + n},server`),
  },
}

const hubTest = testsWith(async site => {
  await site.lab.ask('tap', { name: 'tapI', vnetHdr: 12, offloads: 'all' })
  await site.lab.ask('tap', { name: 'tapO', txqueuelen: 10_000 })
  return {}
})

function hubOf(site: Site, name: string, kinds: Readonly<Record<string, Kind>>) {
  const netdevs = Object.values(kinds).flatMap((kind, index) =>
    [1, 2].map(number => [`n${index}x${number}`, { backend: kind.netdev(number, site) }] as const),
  )
  return site.start({ name, netdevs: Object.fromEntries(netdevs), hub: true })
}

interface Ferries {
  readonly into: Running
  readonly out: Running
}

/** tapferry into the first netdev of a kind, and out of the second. */
function ferries(t: ExecutionContext, site: Site, kind: Kind): Ferries {
  return {
    into: site.ferry(t, '--in-netdev=tapI', `--outdev=${kind.ends(1, site).outdev}`, '--json'),
    out: site.ferry(t, `--indev=${kind.ends(2, site).indev}`, '--out-netdev=tapO', '--json'),
  }
}

/** Frames, and one that the kernel has left to be cut, go the whole way. */
async function cross(t: ExecutionContext, site: Site, { into, out }: Ferries, flow: number) {
  await site.send('tapI', { flow, count: FRAMES, rate: 3000, size: 1514 })
  exactly(t, await received(site, 'tapO', FRAMES), [[0, FRAMES - 1]], flow)
  const fields = { kind: 'tcp-gso', checksum: 'partial', size: SEGMENTS * 1400, gsoSize: 1400, vnetHdr: true }
  await site.send('tapI', fields)
  await counted(out, 'forwarded', FRAMES + SEGMENTS)
  const [sent, taken] = [summaryOf(t, await into.stop()), summaryOf(t, await out.stop())]
  t.like(sent, { forwarded: FRAMES + 1, dropped: 0 })
  t.like(taken, { captured: FRAMES + SEGMENTS, forwarded: FRAMES + SEGMENTS, dropped: 0 })
  const { stream, badChecksum, tooLong } = await received(site, 'tapO')
  t.deepEqual(stream, { segments: SEGMENTS, bytes: SEGMENTS * 1400, jumps: 0, damaged: 0 })
  t.is(badChecksum + tooLong, 0)
}

hubTest(
  'frames cross netdevs that listen or are datagrams, and again after tapferry has left',
  async (t, { site }) => {
    await hubOf(site, 'servers', SERVERS)
    const kinds = Object.values(SERVERS)
    for (const [flow, kind] of [...kinds, ...kinds.slice(0, 1)].entries()) {
      const pair = ferries(t, site, kind)
      await Promise.all([pair.into.ready(), pair.out.ready()])
      await cross(t, site, pair, flow)
    }
  },
)

hubTest(
  'frames cross netdevs that connect, and what comes back to an outdev keeps nobody waiting',
  async (t, { site }) => {
    const pairs = Object.values(CLIENTS).map(kind => ferries(t, site, kind))
    await Promise.all(pairs.flatMap(({ into, out }) => [into.ready(), out.ready()]))
    await hubOf(site, 'clients', CLIENTS)
    await Promise.all(pairs.flatMap(({ into, out }) => [joined(into, 'output'), joined(out, 'input')]))
    await site.send('tapI', { count: FRAMES, rate: 1000, size: 1514 })
    // Each of them sends every frame into the hub, which gives it to all others.
    await Promise.all(pairs.map(({ out }) => counted(out, 'captured', pairs.length * FRAMES)))
    for (const { into, out } of pairs) {
      t.like(summaryOf(t, await out.stop()), { captured: pairs.length * FRAMES, dropped: 0 })
      const finished = await into.stop()
      t.like(summaryOf(t, finished), { forwarded: FRAMES, dropped: 0 })
      t.regex(finished.stdout, /"code":"peer_sends"/)
    }
  },
)
