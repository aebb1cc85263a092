/**
 * Virtio-net headers on streams, with a guest whose driver has chosen their length: 12 bytes for virtio 1.0, 10 for a
 * legacy NIC without mergeable buffers, none where the TAP has vnet_hdr=off.
 *
 * QEMU writes the header in front of each frame whatever vnet_hdr_support says; that only adds the field with its
 * length. Nor does QEMU look at that field when it reads: the header must have exactly the length of its NIC's.
 */

import { connected, plugChardev, plugFilter, probe, record, StreamPeer } from '../support/stream.ts'
import { counted, eachOnce, received, watch } from './streams.ts'
import { eventsOf, exactly, only, summaryOf, type Tally, testsWith } from './support.ts'

const NICS = [
  { nic: 'eth0', netdev: 'hnM', tap: 'tapM', length: 12 },
  { nic: 'eth1', netdev: 'hnL', tap: 'tapL', length: 10 },
  { nic: 'eth2', netdev: 'hnN', tap: 'tapN', length: 0 },
] as const

const KINDS = ['filter-mirror', 'filter-redirector'] as const

const vmTest = testsWith(async site => {
  for (const { tap } of NICS) await site.tap(tap)
  // Its reader takes offloads, so that nothing is done before tapferry captures.
  await site.lab.ask('tap', { name: 'tapI', txqueuelen: 10_000, vnetHdr: 12, offloads: 'all' })
  await site.lab.ask('tap', { name: 'tapO' })
  const legacy = 'disable-modern=on,disable-legacy=off,mrg_rxbuf=off'
  const netdevs = { hnM: 'tapM', hnL: { tap: 'tapL', nic: legacy }, hnN: { tap: 'tapN', vnetHdr: false } }
  const [vm] = await site.boot({ name: 'headers', netdevs })
  return { vm }
})

for (const announced of [false, true]) {
  const setting = `vnet_hdr_support=${announced ? 'on' : 'off'}`
  vmTest(`a relay passes on what QEMU writes for any NIC, byte for byte, ${setting}`, async (t, shared) => {
    const { site, vm } = shared
    const [into, out] = [site.socket(`in-${announced}`), site.socket(`out-${announced}`)]
    await plugChardev(t, vm, 'c0', { path: into, server: true })
    const ends = [`--indev=unix:${into}`, `--outdev=unix:${out},server`]
    const ferry = site.ferry(t, ...ends, ...(announced ? ['--vnet-hdr-support'] : []), '--json')
    await ferry.ready()
    const peer = await StreamPeer.connect(t, out)
    await ferry.until(() => eventsOf(ferry, 'output_back').length === 1, 'the peer is there')
    await connected(vm, 'c0')
    const expected: Buffer[] = []
    for (const { nic, netdev, tap, length } of NICS) {
      for (const type of KINDS) {
        for (const queue of ['tx', 'rx'] as const) {
          const { unplug } = await plugFilter(t, vm, 'f0', { type, netdev, queue, outdev: 'c0', announced })
          const number = expected.length
          const frame = probe(1, number, 60 + number)
          if (queue === 'tx') await site.send(tap, { kind: 'raw', hex: frame.toString('hex') })
          else await vm.console.ask(`send 1 ${frame.length} ${number} ${nic}`, 'sent')
          expected.push(record(frame, { announced, header: Buffer.alloc(length) }))
          await peer.has(Buffer.concat(expected).length)
          await unplug()
        }
      }
    }
    t.like(summaryOf(t, await ferry.stop()), { captured: expected.length, forwarded: expected.length })
    t.is(peer.received.toString('hex'), Buffer.concat(expected).toString('hex'))
  })
}

for (const [flow, { nic, netdev, tap, length }] of NICS.entries()) {
  for (const announced of [false, true]) {
    const setting = `headers of ${length} bytes, vnet_hdr_support=${announced ? 'on' : 'off'}`
    vmTest(`what QEMU writes is injected without its header: ${setting}`, async (t, { site, vm }) => {
      const path = site.socket(`inject-${length}-${announced}`)
      const flags = announced ? ['--vnet-hdr-support'] : []
      const ends = [`--indev=unix:${path},server`, '--out-netdev=tapO', '--json']
      const ferry = site.ferry(t, ...ends, ...flags)
      await ferry.ready()
      await plugChardev(t, vm, 'c0', { path })
      const type = KINDS[flow % 2] ?? 'filter-mirror'
      await plugFilter(t, vm, 'f0', { type, netdev, queue: 'tx', outdev: 'c0', announced })
      await site.send(tap, { flow, count: 500, rate: 5000, kind: 'udp', size: 1514, checksum: 'partial' })
      await site.send(tap, { flow, first: 500, count: 500, rate: 5000 })
      const tally = await received(site, 'tapO', 1000)
      exactly(t, tally, [[0, 999]], flow)
      t.like(tally, { badChecksum: 0, tooLong: 0, other: 0 })
      t.like(summaryOf(t, await ferry.stop()), { captured: 1000, forwarded: 1000, dropped: 0 })
    })

    vmTest(`the guest and its host get what tapferry writes: ${setting}`, async (t, { site, vm }) => {
      const path = site.socket(`feed-${length}-${announced}`)
      await watch(t, site, tap)
      await plugChardev(t, vm, 'c0', { path, server: true })
      const flags = announced ? ['--vnet-hdr-support'] : []
      const ends = ['--in-netdev=tapI', `--outdev=unix:${path}`, '--offloads=complete', '--json']
      const ferry = site.ferry(t, ...ends, ...flags, `--vnet-hdr-len=${length}`)
      await ferry.ready()
      await connected(vm, 'c0')
      await vm.console.ask('clear', 'cleared')
      const filter = { type: 'filter-redirector', netdev, indev: 'c0', announced } as const
      const toGuest = await plugFilter(t, vm, 'f0', { ...filter, queue: 'tx' })
      await site.send('tapI', { flow, count: 300, rate: 5000, size: 1514 })
      await site.send('tapI', { flow, first: 300, count: 100, rate: 5000, kind: 'udp', checksum: 'partial' })
      await site.send('tapI', { flow, first: 400, count: 10, kind: 'udp-gso', segments: 10 })
      await site.send('tapI', { count: 5, kind: 'tcp-gso' })
      await counted(ferry, 'forwarded', 300 + 100 + 10 + 5)
      const whole = ({ stream, flows }: Tally) => stream.bytes >= 5 * 60_000 && flows[flow]?.count === 500
      const tally = only(await vm.reports([nic], whole))
      eachOnce(t, tally, flow, 500)
      t.like(tally.stream, { bytes: 5 * 60_000, damaged: 0 })
      t.like(tally, { badChecksum: 0, tooLong: 0, other: 0 })
      await toGuest.unplug()

      await plugFilter(t, vm, 'f0', { ...filter, queue: 'rx' })
      await site.send('tapI', { flow, first: 1000, count: 300, rate: 5000 })
      exactly(t, await received(site, tap, 300), [[1000, 1299]], flow)
      t.like(summaryOf(t, await ferry.stop()), { dropped: 0, held: 0 })
    })
  }
}

vmTest('offloads that are kept reach the guest as such, and nothing of them is lost', async (t, shared) => {
  const { site, vm } = shared
  const path = site.socket('offloads')
  await plugChardev(t, vm, 'c0', { path, server: true })
  const ends = ['--in-netdev=tapI', `--outdev=unix:${path}`, '--vnet-hdr-support', '--json']
  const ferry = site.ferry(t, ...ends)
  await ferry.ready()
  await connected(vm, 'c0')
  await vm.console.ask('clear', 'cleared')
  const filter = { type: 'filter-redirector', netdev: 'hnM', queue: 'tx', indev: 'c0' } as const
  await plugFilter(t, vm, 'f0', { ...filter, announced: true })
  await site.send('tapI', { count: 20, kind: 'tcp-gso' })
  const tally = only(await vm.reports(['eth0'], ({ stream }) => stream.bytes >= 20 * 60_000))
  t.like(tally.stream, { bytes: 20 * 60_000, damaged: 0 })
  // As many records as frames: none was cut up on the way.
  t.like(summaryOf(t, await ferry.stop()), { captured: 20, forwarded: 20, dropped: 0 })
})

vmTest('three hops with virtio-net headers end in the guest', async (t, { site, vm }) => {
  const [first, second] = [site.socket('hop-0'), site.socket('hop-1')]
  await plugChardev(t, vm, 'c0', { path: first, server: true })
  await plugChardev(t, vm, 'c1', { path: second, server: true })
  const type = 'filter-redirector'
  for (const { netdev, tap, nic, length } of NICS) {
    const relay = [`--indev=unix:${first}`, `--outdev=unix:${second}`, '--vnet-hdr-support', '--json']
    const ferry = site.ferry(t, ...relay)
    await ferry.ready()
    await Promise.all(['c0', 'c1'].map(id => connected(vm, id)))
    await vm.console.ask('clear', 'cleared')
    const filter = { type, netdev, queue: 'tx', announced: true } as const
    const out = await plugFilter(t, vm, 'f0', { ...filter, outdev: 'c0' })
    const back = await plugFilter(t, vm, 'f1', { ...filter, indev: 'c1' })
    await site.send(tap, { flow: length, count: 500, rate: 5000, size: 1514 })
    await counted(ferry, 'forwarded', 500)
    const tally = only(await vm.reports([nic], ({ flows }) => flows[length]?.count === 500))
    eachOnce(t, tally, length, 500)
    t.like(summaryOf(t, await ferry.stop()), { captured: 500, forwarded: 500, dropped: 0 })
    await out.unplug()
    await back.unplug()
  }
})
