/** What a peer may send: lengths at their limits and beyond, records in pieces, records that are cut off. No VM. */

import { setImmediate as turn } from 'node:timers/promises'
import type { ExecutionContext } from 'ava'
import type { Running } from '../support/cli.ts'
import { field, probe, record, StreamPeer } from '../support/stream.ts'
import { eventsOf, type Site, statistics, summaryOf, testsWith } from './support.ts'

/** The longest record: 4096 + 65536 bytes. */
const LONGEST = 69_632

const peerTest = testsWith(async () => ({}))

interface Relay {
  readonly ferry: Running
  readonly into: StreamPeer
  readonly out: StreamPeer
  /** One more peer for the relay's input. */
  again(): Promise<StreamPeer>
}

/** A relay between two peers of the test. */
async function relay(
  t: ExecutionContext,
  site: Site,
  name: string,
  ...flags: readonly string[]
): Promise<Relay> {
  const [from, to] = [site.socket(`${name}-in`), site.socket(`${name}-out`)]
  const ferry = site.ferry(t, `--indev=unix:${from},server`, `--outdev=unix:${to},server`, ...flags, '--json')
  await ferry.ready()
  const into = await StreamPeer.connect(t, from)
  const out = await StreamPeer.connect(t, to)
  const both = () => eventsOf(ferry, 'input_back').length + eventsOf(ferry, 'output_back').length === 2
  await ferry.until(both, 'both ends have their peers')
  return { ferry, into, out, again: () => StreamPeer.connect(t, from) }
}

/** Waits until this has come out, and nothing else. */
async function comesOut(t: ExecutionContext, out: StreamPeer, ...records: readonly Buffer[]): Promise<void> {
  const expected = Buffer.concat(records)
  await out.has(expected.length)
  t.true(
    out.received.equals(expected),
    `${out.received.length} bytes: ${out.received.toString('hex', 0, 200)}`,
  )
}

for (const announced of [false, true]) {
  const flags = announced ? ['--vnet-hdr-support'] : []
  const setting = `vnet_hdr_support=${announced ? 'on' : 'off'}`

  peerTest(`records of ${LONGEST} bytes pass, ${setting}`, async (t, { site }) => {
    const { ferry, into, out } = await relay(t, site, `longest-${announced}`, ...flags)
    const records = [LONGEST, 60, LONGEST].map((size, number) =>
      record(probe(1, number, size), { announced }),
    )
    into.write(...records)
    await comesOut(t, out, ...records)
    t.like(summaryOf(t, await ferry.stop()), { captured: 3, forwarded: 3, framing_errors: 0 })
  })

  for (const length of [LONGEST + 1, 0xffff_ffff]) {
    peerTest(`a length of ${length} ends its connection, and no other, ${setting}`, async (t, { site }) => {
      const { ferry, into, out, again } = await relay(t, site, `length-${length}-${announced}`, ...flags)
      const frame = (number: number) => record(probe(1, number), { announced })
      // The frames before it are whole. What follows the length is not waited for.
      into.write(frame(0), field(length))
      await into.closed()
      const next = await again()
      next.write(frame(1))
      await comesOut(t, out, frame(0), frame(1))
      await ferry.until(() => eventsOf(ferry, 'input_back').length === 2, 'its successor is told of')
      t.like(summaryOf(t, await ferry.stop()), { captured: 2, forwarded: 2, framing_errors: 1 })
      t.regex(ferry.stderr + ferry.stdout, new RegExp(`${length}`))
    })
  }

  peerTest(`an empty record is counted and passed over, ${setting}`, async (t, { site }) => {
    const { ferry, into, out } = await relay(t, site, `empty-${announced}`, ...flags)
    const frame = record(probe(1, 0), { announced })
    into.write(record(Buffer.alloc(0), { announced }), frame)
    await comesOut(t, out, frame)
    const summary = summaryOf(t, await ferry.stop())
    t.like(summary, { captured: 2, forwarded: 1, dropped_malformed: 1, framing_errors: 0 })
  })

  peerTest(`records that come in pieces are put together, ${setting}`, async (t, { site }) => {
    const { ferry, into, out } = await relay(t, site, `pieces-${announced}`, ...flags)
    into.socket.setNoDelay(true)
    const records = [0, 1, 2].map(number => record(probe(1, number), { announced }))
    for (const byte of Buffer.concat(records)) {
      into.write(Buffer.from([byte]))
      // Each byte in a write of its own.
      await turn()
    }
    await comesOut(t, out, ...records)
    t.like(summaryOf(t, await ferry.stop()), { captured: 3, forwarded: 3 })
  })

  peerTest(`of a record that is cut off nothing remains, ${setting}`, async (t, { site }) => {
    const { ferry, into, out, again } = await relay(t, site, `cut-${announced}`, ...flags)
    const frame = (number: number) => record(probe(1, number), { announced })
    into.write(frame(0), frame(1).subarray(0, 30))
    await comesOut(t, out, frame(0))
    into.socket.end()
    const next = await again()
    next.write(frame(2))
    await comesOut(t, out, frame(0), frame(2))
    t.like(summaryOf(t, await ferry.stop()), { captured: 2, forwarded: 2 })
  })
}

peerTest('a peer that reads now and then gets everything in order', async (t, { site }) => {
  const { ferry, into, out } = await relay(t, site, 'slow')
  const records = Array.from({ length: 3000 }, (_, number) => record(probe(1, number, 1514)))
  out.socket.pause()
  // More than the sockets hold, so that frames wait in tapferry, and one is written in part.
  const rounds = 10
  for (let round = 0; round < rounds; round += 1) {
    into.write(...records.slice((round * records.length) / rounds, ((round + 1) * records.length) / rounds))
    await statistics(ferry)
    out.socket.resume()
    await turn()
    out.socket.pause()
  }
  out.socket.resume()
  await comesOut(t, out, ...records)
  t.like(summaryOf(t, await ferry.stop()), { captured: 3000, forwarded: 3000, dropped: 0 })
})

for (const ours of [false, true]) {
  const setting = `on ${ours ? 'here' : 'there'} alone`
  peerTest(`a peer that differs in vnet_hdr_support is told of, ${setting}`, async (t, { site }) => {
    const flags = ours ? ['--vnet-hdr-support'] : []
    const { ferry, into, out } = await relay(t, site, `mismatch-${ours}`, ...flags)
    into.write(record(arpRequest(), ours ? {} : { announced: true, header: Buffer.alloc(12) }))
    await into.closed()
    const finished = await ferry.stop()
    t.like(summaryOf(t, finished), { forwarded: 0, framing_errors: 1 })
    t.regex(finished.stdout, /vnet_hdr_support/)
    t.is(out.received.length, 0)
  })
}

/** Who has 10.0.0.2? Tell 10.0.0.1: a frame that is what its ethertype says. */
function arpRequest(): Buffer {
  const ethernet = 'ffffffffffff5254001234560806'
  const arp = '00010800060400015254001234560a0000010000000000000a000002'
  return Buffer.concat([Buffer.from(ethernet + arp, 'hex'), Buffer.alloc(18)])
}
