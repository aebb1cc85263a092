/** What a host sends to one VM reaches another one too: two guests count. */

import {
  exactly,
  type JsonRecord,
  only,
  recordsOf,
  sent,
  statistics,
  summaryOf,
  testsWith,
  timeNs,
} from './support.ts'

const vmTest = testsWith(async site => {
  await site.tap('tapA')
  await site.tap('tapB')
  const [a, b] = await site.boot(
    { name: 'a', netdevs: { hn0: 'tapA' } },
    { name: 'b', netdevs: { hn0: 'tapB' } },
  )
  const ends = ['--in-netdev=hn0', '--out-netdev=tapB', `--qmp=${a.monitors[0]}`, '--json']
  return { a, b, ends }
})

vmTest('what a host sends to one guest reaches the other too, once and in order', async (t, shared) => {
  const { site, a, b, ends } = shared
  const ferry = site.ferry(t, ...ends)
  t.regex(await ferry.ready(), /ready: hn0 \(tapA\) -> tapB, frames to the guest, gate open \(VM running\)$/)
  await site.send('tapA', { flow: 10, count: 5000, rate: 5000 })
  await site.send('tapA', { flow: 11, count: 300, kind: 'udp', size: 1514, checksum: 'partial' })
  await site.send('tapA', { flow: 12, count: 20, kind: 'udp-gso', segments: 10 })
  await site.send('tapA', { count: 20, kind: 'tcp-gso' })
  t.like(await a.console.ask('send 100', 'sent'), { frames: 100 })
  const summary = summaryOf(t, await ferry.stop())
  t.like(summary, { dropped: 0, held: 0, lost_at_output: 0, forwarded_late: 0 })
  for (const vm of [a, b]) {
    const tally = only(await vm.received('eth0'))
    exactly(t, tally, [[0, 4999]], 10)
    exactly(t, tally, [[0, 299]], 11)
    exactly(t, tally, [[0, 199]], 12)
    exactly(t, tally, [], 1)
    t.like(tally.stream, { bytes: 20 * 60_000, jumps: 0, damaged: 0 })
    t.like(tally, { badChecksum: 0, tooLong: 0, other: 0 })
  }
})

vmTest(
  'SIGUSR1 tells, SIGINT ends within a second, and the guest has what was counted',
  async (t, shared) => {
    const { site, b, ends } = shared
    for (const [flow, latency] of [
      [20, 'balanced'],
      [21, 'low'],
    ] as const) {
      const ferry = site.ferry(t, ...ends, `--latency=${latency}`)
      await ferry.ready()
      await site.lab.ask('send-start', { name: 'traffic', netdev: 'tapA', flow, rate: 4000 })
      let present: JsonRecord = {}
      for (let round = 0; round < 5 || Number(present['forwarded']) < 1000; round += 1) {
        present = await statistics(ferry)
      }
      const asked = performance.now()
      const finished = await ferry.stop('SIGINT')
      t.true(performance.now() - asked < 5000, `it took ${performance.now() - asked} ms`)
      const { frames } = sent(await site.lab.ask('send-stop', { name: 'traffic' }))
      const summary = summaryOf(t, finished)
      t.like(summary, { end: 'stopped', dropped: 0, held: 0 })
      const forwarded = Number(summary['forwarded'])
      t.true(forwarded >= 1000 && forwarded <= frames, `${forwarded} of ${frames}`)
      exactly(t, only(await b.received('eth0')), [[0, forwarded - 1]], flow)
    }
  },
)

vmTest('kill -9 leaves nothing behind, and another tapferry goes on at once', async (t, shared) => {
  const { site, a, b, ends } = shared
  const { lab } = site
  const flow = 30
  await lab.ask('veth', { name: 'vethA', peer: 'vethB' })
  const run = async (...command: string[]) => String((await lab.ask('run', { command }))['stdout'])
  const traces = async () => ({
    links: await run('ip', '-details', 'link', 'show'),
    queueing: await run('tc', 'qdisc', 'show'),
    filters:
      (await run('tc', 'filter', 'show', 'dev', 'tapA')) + (await run('tc', 'filter', 'show', 'dev', 'tapB')),
    sockets: (await lab.ask('packet-sockets'))['count'],
  })
  const before = await traces()
  t.is(before.sockets, 0)

  const ferry = site.ferry(t, ...ends)
  // Only a capture of what comes from a real network card needs promiscuous mode.
  const promiscuous = site.ferry(t, '--in-netdev=vethA', '--out-netdev=vethB', '--queue=rx')
  await Promise.all([ferry.ready(), promiscuous.ready()])
  t.regex((await traces()).links, /promiscuity 1/)
  await lab.ask('send-start', { name: 'traffic', netdev: 'tapA', flow, rate: 2000, stamps: true })
  while (Number((await statistics(ferry))['forwarded']) < 500);
  await Promise.all([ferry.stop('SIGKILL'), promiscuous.stop('SIGKILL')])
  t.deepEqual(await traces(), before)

  const startedNs = BigInt(Date.now()) * 1_000_000n
  const next = site.ferry(t, ...ends)
  await next.ready()
  while (Number((await statistics(next))['forwarded']) < 500);
  const { stamps } = sent(await lab.ask('send-stop', { name: 'traffic' }))
  const finished = await next.stop()
  const summary = summaryOf(t, finished)
  exactly(t, only(await a.received('eth0')), [[0, stamps.length - 1]], flow)
  const { ranges = [], ...rest } = only(await b.received('eth0')).flows[flow] ?? {}
  t.like(rest, { duplicates: 0, outOfOrder: 0, damaged: 0 })
  const [[first = -1] = [], [from = -1, to = -1] = [], ...more] = ranges
  t.deepEqual([first, to, more], [0, stamps.length - 1, []], JSON.stringify(ranges))
  t.is(summary['forwarded'], to - from + 1)
  t.true((stamps[from]?.after ?? 0n) > startedNs, 'nothing that was sent before it was started')
  const readyNs = timeNs(only(recordsOf(finished, 'ready')))
  t.true((stamps[from - 1]?.before ?? 0n) < readyNs, 'all that was sent after it was ready')
})
