/**
 * QEMU's filters on one side of a stream, tapferry on the other: the cases of QEMU's own tests, and what its filters
 * do to each other. QEMU has no guest here, but a hub of two TAPs: what a host sends into tapA comes out of tapB, and
 * the other way, and at the netdev of tapA a frame `to the guest` is one that came from there. Nothing has virtio-net
 * headers then; those are in streams-headers.test.ts.
 */

import {
  connected,
  field,
  plugChardev,
  plugFilter,
  probe,
  queryChardev,
  record,
  StreamPeer,
  setFilter,
} from '../support/stream.ts'
import { counted, joined, received, send, watch } from './streams.ts'
import { eventsOf, exactly, sent, statistics, summaryOf, testsWith } from './support.ts'

const hubTest = testsWith(async site => {
  await site.tap('tapA')
  await site.tap('tapB')
  for (const name of ['tapI', 'tapO']) await site.lab.ask('tap', { name })
  const netdevs = { hnA: 'tapA', hnB: 'tapB' }
  return { vm: await site.start({ name: 'hub', netdevs, hub: true }) }
})

const KINDS = ['filter-mirror', 'filter-redirector'] as const
const SETTINGS = [
  { announced: false, setting: 'vnet_hdr_support=off', flags: [] },
  { announced: true, setting: 'vnet_hdr_support=on', flags: ['--vnet-hdr-support'] },
] as const

for (const { announced, setting, flags } of SETTINGS) {
  hubTest(`what QEMU writes comes out of a relay byte for byte, ${setting}`, async (t, { site, vm }) => {
    const [into, out] = [site.socket(`in-${announced}`), site.socket(`out-${announced}`)]
    await plugChardev(t, vm, 'c0', { path: into, server: true })
    const ferry = site.ferry(t, `--indev=unix:${into}`, `--outdev=unix:${out},server`, ...flags, '--json')
    await ferry.ready()
    const peer = await StreamPeer.connect(t, out)
    await Promise.all([connected(vm, 'c0'), joined(ferry, 'output')])
    const expected: Buffer[] = []
    const arrives = async (netdev: string, frame: Buffer) => {
      expected.push(record(frame, { announced }))
      await site.send(netdev, { kind: 'raw', hex: frame.toString('hex') })
      await peer.has(Buffer.concat(expected).length)
    }
    let flow = 0
    for (const type of KINDS) {
      for (const queue of ['tx', 'rx', 'all'] as const) {
        flow += 1
        const filter = await plugFilter(t, vm, 'f0', { type, netdev: 'hnA', queue, outdev: 'c0', announced })
        if (queue !== 'tx') {
          if (queue === 'rx') await send(site, 'tapA', 90 + flow, 0)
          for (const size of [60, 61, 1514]) await arrives('tapB', probe(flow, size, size))
        }
        if (queue !== 'rx') {
          if (queue === 'tx') await send(site, 'tapB', 90 + flow, 0)
          for (const size of [60, 61, 1514]) await arrives('tapA', probe(flow, size, size))
        }
        await filter.unplug()
      }
    }
    const summary = summaryOf(t, await ferry.stop())
    t.like(summary, { captured: expected.length, forwarded: expected.length, dropped: 0 })
    t.is(peer.received.toString('hex'), Buffer.concat(expected).toString('hex'))
  })

  hubTest(`what QEMU writes is injected, once and in order, ${setting}`, async (t, { site, vm }) => {
    const path = site.socket(`inject-${announced}`)
    const ferry = site.ferry(t, `--indev=unix:${path},server`, '--out-netdev=tapO', ...flags, '--json')
    await ferry.ready()
    await plugChardev(t, vm, 'c0', { path })
    for (const [flow, type] of KINDS.entries()) {
      const filter = { type, netdev: 'hnA', queue: 'tx', outdev: 'c0', announced } as const
      const { unplug } = await plugFilter(t, vm, 'f0', filter)
      await site.send('tapA', { flow, count: 1000, rate: 5000, size: 1514 })
      exactly(t, await received(site, 'tapO', 1000), [[0, 999]], flow)
      await unplug()
    }
    t.like(summaryOf(t, await ferry.stop()), { captured: 2000, forwarded: 2000, dropped: 0 })
  })

  hubTest(`QEMU takes what tapferry writes, in each direction, ${setting}`, async (t, { site, vm }) => {
    const path = site.socket(`feed-${announced}`)
    await Promise.all([watch(t, site, 'tapA'), watch(t, site, 'tapB')])
    await plugChardev(t, vm, 'c0', { path, server: true })
    // The hub's ports have no virtio-net header, whoever announces it.
    const ends = ['--in-netdev=tapI', `--outdev=unix:${path}`, ...(announced ? ['--vnet-hdr-len=0'] : [])]
    const ferry = site.ferry(t, ...ends, ...flags, '--json')
    await ferry.ready()
    await connected(vm, 'c0')
    const directions = [
      { queue: 'tx', outputs: ['tapB'] },
      { queue: 'rx', outputs: ['tapA'] },
      { queue: 'all', outputs: ['tapB', 'tapA'] },
    ] as const
    for (const [flow, { queue, outputs }] of directions.entries()) {
      const filter = { type: 'filter-redirector', netdev: 'hnA', queue, indev: 'c0', announced } as const
      const { unplug } = await plugFilter(t, vm, 'f0', filter)
      await site.send('tapI', { flow, count: 500, rate: 5000, size: 1514 })
      for (const netdev of outputs) exactly(t, await received(site, netdev, 500), [[0, 499]], flow)
      const others = ['tapA', 'tapB'].filter(netdev => !outputs.some(output => output === netdev))
      for (const netdev of others) exactly(t, await received(site, netdev), [], flow)
      await unplug()
    }
    t.like(summaryOf(t, await ferry.stop()), { captured: 1500, forwarded: 1500, dropped: 0 })
  })

  for (const { queue, from, order } of [
    { queue: 'tx', from: 'tapA', order: ['f0', 'f1', 'f2'] },
    { queue: 'rx', from: 'tapB', order: ['f2', 'f1', 'f0'] },
  ] as const) {
    hubTest(`three hops through QEMU and tapferry, queue=${queue}, ${setting}`, async (t, { site, vm }) => {
      const path = (name: string) => site.socket(`${name}-${queue}-${announced}`)
      for (const id of ['c0', 'c1', 'c2']) await plugChardev(t, vm, id, { path: path(id), server: true })
      const hops = { f0: { outdev: 'c0' }, f1: { indev: 'c1' }, f2: { outdev: 'c2' } }
      const type = 'filter-redirector'
      // Frames from the guest pass the filters the other way round.
      for (const id of order) {
        await plugFilter(t, vm, id, { type, netdev: 'hnA', queue, ...hops[id], announced })
      }
      const relays = [
        site.ferry(t, `--indev=unix:${path('c0')}`, `--outdev=unix:${path('c1')}`, ...flags, '--json'),
        site.ferry(
          t,
          `--indev=unix:${path('c2')}`,
          `--outdev=unix:${path('out')},server`,
          ...flags,
          '--json',
        ),
      ] as const
      await Promise.all(relays.map(relay => relay.ready()))
      const peer = await StreamPeer.connect(t, path('out'))
      await Promise.all([...['c0', 'c1', 'c2'].map(id => connected(vm, id)), joined(relays[1], 'output')])
      const frames = [60, 61, 1514].map(size => probe(1, size, size))
      for (const frame of frames) await site.send(from, { kind: 'raw', hex: frame.toString('hex') })
      const expected = Buffer.concat(frames.map(frame => record(frame, { announced })))
      await peer.has(expected.length)
      for (const relay of relays) {
        t.like(summaryOf(t, await relay.stop()), { captured: 3, forwarded: 3, dropped: 0 })
      }
      t.is(peer.received.toString('hex'), expected.toString('hex'))
    })
  }
}

hubTest(
  'filters that are off, from the start or later, send nothing; on again, they do',
  async (t, shared) => {
    const { site, vm } = shared
    const path = site.socket('status')
    const ferry = site.ferry(t, `--indev=unix:${path},server`, '--out-netdev=tapO', '--json')
    await ferry.ready()
    await plugChardev(t, vm, 'c0', { path })
    for (const [flow, type] of KINDS.entries()) {
      const filter = { type, netdev: 'hnA', queue: 'tx', outdev: 'c0', status: 'off' } as const
      const { unplug } = await plugFilter(t, vm, 'f0', filter)
      // What comes out of tapB has been in QEMU and did not meet the filter.
      await watch(t, site, 'tapB')
      const passesBy = async (number: number) => {
        await send(site, 'tapA', flow, number)
        t.is((await received(site, 'tapB', 1)).flows[flow]?.count, 1)
      }
      await passesBy(0)
      await setFilter(vm, 'f0', 'on')
      await send(site, 'tapA', flow, 1)
      await counted(ferry, 'captured', 2 * flow + 1)
      await setFilter(vm, 'f0', 'off')
      await received(site, 'tapB')
      await passesBy(2)
      await setFilter(vm, 'f0', 'on')
      await send(site, 'tapA', flow, 3)
      const tally = await received(site, 'tapO', 2)
      const ranges: [number, number][] = [
        [1, 1],
        [3, 3],
      ]
      exactly(t, tally, ranges, flow)
      await unplug()
    }
    t.like(summaryOf(t, await ferry.stop()), { captured: 4, forwarded: 4 })
  },
)

hubTest('with --status=off nothing passes, and QEMU does not notice', async (t, { site, vm }) => {
  const path = site.socket('off')
  await plugChardev(t, vm, 'c0', { path, server: true })
  await plugFilter(t, vm, 'f0', { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: 'c0' })
  await watch(t, site, 'tapB')
  const ferry = site.ferry(t, `--indev=unix:${path}`, '--out-netdev=tapO', '--status=off', '--json')
  await ferry.ready()
  // More than a socket holds: a filter-mirror whose peer does not read would stop all of QEMU.
  await site.send('tapA', { count: 2000, rate: 10_000, size: 1514 })
  exactly(t, await received(site, 'tapB', 2000), [[0, 1999]])
  t.like(summaryOf(t, await ferry.stop()), { forwarded: 0 })
  exactly(t, await received(site, 'tapO'), [])
})

hubTest('a peer that goes and comes back gets the next frame', async (t, { site, vm }) => {
  const [into, out] = [site.socket('again-in'), site.socket('again-out')]
  const ferry = site.ferry(t, `--indev=unix:${into}`, `--outdev=unix:${out},server`, '--wait', '--json')
  const first = await plugChardev(t, vm, 'c0', { path: into, server: true })
  const filter = { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: 'c0' } as const
  const mirror = await plugFilter(t, vm, 'f0', filter)
  await ferry.ready()
  await connected(vm, 'c0')
  const listens = async (times: number) => {
    const peer = await StreamPeer.connect(t, out)
    await joined(ferry, 'output', times)
    return peer
  }
  const arrives = async (peer: StreamPeer, number: number) => {
    await send(site, 'tapA', 0, number)
    await peer.has(64)
    t.is(peer.received.toString('hex'), record(probe(0, number)).toString('hex'))
  }

  const before = await listens(1)
  await arrives(before, 0)
  before.close()
  await ferry.until(() => eventsOf(ferry, 'output_missing').length === 1, 'the peer is missed')
  await send(site, 'tapA', 0, 1)
  await counted(ferry, 'dropped_no_peer', 1)
  const after = await listens(2)
  await arrives(after, 2)
  after.close()

  // The same with QEMU: its chardev goes, and one that is like it comes.
  await mirror.unplug()
  await first.unplug()
  await ferry.until(() => eventsOf(ferry, 'input_missing').length === 1, 'QEMU is missed')
  await plugChardev(t, vm, 'c0', { path: into, server: true })
  await plugFilter(t, vm, 'f0', filter)
  await Promise.all([joined(ferry, 'input'), connected(vm, 'c0')])
  await arrives(await listens(3), 3)
  t.like(summaryOf(t, await ferry.stop()), { captured: 4, forwarded: 3, dropped_no_peer: 1 })
})

hubTest('an outdev without a peer drops and counts, and replays nothing', async (t, { site }) => {
  const path = site.socket('nobody')
  const ferry = site.ferry(t, '--in-netdev=tapI', `--outdev=unix:${path},server`, '--json')
  await ferry.ready()
  await send(site, 'tapI', 0, 0, 1, 2)
  await counted(ferry, 'dropped_no_peer', 3)
  const peer = await StreamPeer.connect(t, path)
  await joined(ferry, 'output')
  await send(site, 'tapI', 0, 3)
  await peer.has(64)
  t.is(peer.received.toString('hex'), record(probe(0, 3)).toString('hex'))
  t.like(summaryOf(t, await ferry.stop()), { captured: 4, forwarded: 1, dropped_no_peer: 3 })
})

hubTest('filters deleted under traffic, one or both of two, end nothing', async (t, { site, vm }) => {
  const paths = [site.socket('deleted-0'), site.socket('deleted-1')]
  const outputs = ['tapO', 'tapI']
  const ferries = paths.map((path, index) =>
    site.ferry(t, `--indev=unix:${path},server`, `--out-netdev=${outputs[index]}`, '--json'),
  )
  await Promise.all(ferries.map(ferry => ferry.ready()))
  const plugBoth = async (index: number) => {
    const [path, id] = [paths[index] ?? '', `c${index}`]
    const chardev = await plugChardev(t, vm, id, { path })
    const filter = { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: id } as const
    const mirror = await plugFilter(t, vm, `f${index}`, filter)
    return async () => {
      await mirror.unplug()
      await chardev.unplug()
    }
  }
  const captured = async (index: number) => {
    const ferry = ferries[index] ?? t.fail()
    await counted(ferry, 'captured', Number((await statistics(ferry))['captured']) + 100)
  }
  const unplug = [await plugBoth(0), await plugBoth(1)]
  await site.lab.ask('send-start', { name: 'traffic', netdev: 'tapA', rate: 2000 })
  await Promise.all([captured(0), captured(1)])
  await unplug[0]?.()
  await captured(1)
  await unplug[1]?.()
  await Promise.all([plugBoth(0), plugBoth(1)])
  await Promise.all([captured(0), captured(1)])
  await site.lab.ask('send-stop', { name: 'traffic' })
  for (const ferry of ferries) {
    const summary = summaryOf(t, await ferry.stop())
    t.is(summary['dropped'], 0)
    t.is(eventsOf(ferry, 'input_back').length, 2)
  }
})

hubTest(
  'a netdev deleted under traffic is waited for, with a stream at the other end',
  async (t, { site }) => {
    const path = site.socket('deleted-netdev')
    await site.lab.ask('tap', { name: 'tapX' })
    const ends = [`--outdev=unix:${path},server`, '--json']
    const ferry = site.ferry(t, '--in-netdev=tapX', ...ends)
    await ferry.ready()
    const peer = await StreamPeer.connect(t, path)
    await joined(ferry, 'output')
    await send(site, 'tapX', 0, 0)
    await peer.has(64)
    await site.lab.ask('tap-delete', { name: 'tapX' })
    await ferry.until(() => eventsOf(ferry, 'input_missing').length === 1, 'the netdev is missed')
    await site.lab.ask('tap', { name: 'tapX' })
    await joined(ferry, 'input')
    await send(site, 'tapX', 0, 1)
    await peer.has(128)
    const expected = [probe(0, 0), probe(0, 1)].map(frame => record(frame))
    t.is(peer.received.toString('hex'), Buffer.concat(expected).toString('hex'))
    summaryOf(t, await ferry.stop())
  },
)

hubTest('TCP carries the same, in both directions', async (t, { site, vm }) => {
  const [into, out] = [4701, 4702]
  await watch(t, site, 'tapB')
  await plugChardev(t, vm, 'c1', { port: out, server: true })
  const ends = [`--indev=tcp:127.0.0.1:${into},server`, `--outdev=tcp:127.0.0.1:${out}`]
  const ferry = site.ferry(t, ...ends, '--json')
  await ferry.ready()
  await plugChardev(t, vm, 'c0', { port: into })
  await connected(vm, 'c1')
  const type = 'filter-redirector'
  await plugFilter(t, vm, 'f0', { type, netdev: 'hnA', queue: 'tx', outdev: 'c0' })
  await plugFilter(t, vm, 'f1', { type, netdev: 'hnA', queue: 'tx', indev: 'c1' })
  await site.send('tapA', { count: 2000, rate: 10_000, size: 1514 })
  exactly(t, await received(site, 'tapB', 2000), [[0, 1999]])
  t.like(summaryOf(t, await ferry.stop()), { captured: 2000, forwarded: 2000, dropped: 0 })
})

for (const server of [true, false]) {
  const who = server ? 'listens' : 'connects'
  hubTest(`a deaf filter of a QEMU that ${who} hears again, with --qmp`, async (t, { site, vm }) => {
    const path = site.socket(`deaf-${server}`)
    await watch(t, site, 'tapB')
    const feed = (flow: number, ...options: readonly string[]) => {
      const address = `--outdev=unix:${path}${server ? '' : ',server'}`
      const ferry = site.ferry(t, '--in-netdev=tapI', address, '--json', ...options)
      return { flow, ferry }
    }
    const plugged = async () => {
      await plugChardev(t, vm, 'c0', { path, server, ...(server ? {} : { reconnect: 1 }) })
      await plugFilter(t, vm, 'f0', { type: 'filter-redirector', netdev: 'hnA', queue: 'tx', indev: 'c0' })
    }
    if (server) await plugged()
    const first = feed(1)
    await first.ferry.ready()
    if (!server) await plugged()
    await connected(vm, 'c0')
    await send(site, 'tapI', 1, 0)
    exactly(t, await received(site, 'tapB', 1), [[0, 0]], 1)
    await first.ferry.stop()
    await connected(vm, 'c0', false)
    t.false((await queryChardev(vm, 'c0'))['frontend-open'], 'QEMU has let go of its chardev')

    const second = feed(2, `--qmp=${vm.monitors[0]}`)
    await second.ferry.ready()
    await connected(vm, 'c0')
    // They may wait in the socket until the filter hears.
    await send(site, 'tapI', 2, 0, 1, 2)
    exactly(t, await received(site, 'tapB', 3), [[0, 2]], 2)
    await second.ferry.until(() => eventsOf(second.ferry, 'peer_revived').length === 1, 'the cure is told of')
    t.like(summaryOf(t, await second.ferry.stop()), { captured: 3, forwarded: 3 })
  })
}

hubTest(
  'frames for a VM that is stopped are held until it runs, and come in order',
  async (t, { site, vm }) => {
    const path = site.socket('held')
    await watch(t, site, 'tapB')
    await plugChardev(t, vm, 'c0', { path, server: true })
    const hold = ['--hold=until-running', `--qmp=${vm.monitors[0]}`]
    const ferry = site.ferry(t, '--in-netdev=tapI', `--outdev=unix:${path}`, ...hold, '--json')
    await ferry.ready()
    await connected(vm, 'c0')
    await plugFilter(t, vm, 'f0', { type: 'filter-redirector', netdev: 'hnA', queue: 'tx', indev: 'c0' })
    await vm.command('stop')
    t.teardown(() => vm.command('cont'))
    await ferry.until(() => eventsOf(ferry, 'run_state').length === 1, 'tapferry knows')
    await site.send('tapI', { count: 500, rate: 5000, size: 1514 })
    await counted(ferry, 'held', 500)
    t.like(await statistics(ferry), { captured: 500, forwarded: 0, held: 500 })
    await vm.command('cont')
    exactly(t, await received(site, 'tapB', 500), [[0, 499]])
    t.like(summaryOf(t, await ferry.stop()), { captured: 500, forwarded: 500, dropped: 0 })
  },
)

hubTest('QEMU reads the largest record there is', async (t, { site, vm }) => {
  const [into, out] = [site.socket('large-in'), site.socket('large-out')]
  await plugChardev(t, vm, 'c0', { path: out, server: true })
  const type = 'filter-redirector'
  await plugFilter(t, vm, 'f0', { type, netdev: 'hnA', queue: 'tx', indev: 'c0' })
  const ferry = site.ferry(t, `--indev=unix:${into},server`, `--outdev=unix:${out}`, '--json')
  await ferry.ready()
  await connected(vm, 'c0')
  await watch(t, site, 'tapB')
  const peer = await StreamPeer.connect(t, into)
  peer.write(record(probe(1, 0, 69_632)), field(0), record(probe(1, 1)))
  exactly(t, await received(site, 'tapB', 2), [[0, 1]], 1)
  t.like(summaryOf(t, await ferry.stop()), { captured: 3, forwarded: 2, dropped: 1 })
})

hubTest('under traffic that QEMU mirrors, each frame is counted once', async (t, { site, vm }) => {
  const path = site.socket('sum')
  const ferry = site.ferry(t, `--indev=unix:${path},server`, '--out-netdev=tapO', '--json')
  await ferry.ready()
  await plugChardev(t, vm, 'c0', { path })
  await plugFilter(t, vm, 'f0', { type: 'filter-mirror', netdev: 'hnA', queue: 'tx', outdev: 'c0' })
  await site.lab.ask('send-start', { name: 'traffic', netdev: 'tapA', flow: 3, rate: 5000 })
  await counted(ferry, 'forwarded', 2000)
  const { frames } = sent(await site.lab.ask('send-stop', { name: 'traffic' }))
  exactly(t, await received(site, 'tapO', frames), [[0, frames - 1]], 3)
  t.like(summaryOf(t, await ferry.stop()), { captured: frames, forwarded: frames, dropped: 0 })
})
