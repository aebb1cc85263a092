/** A TAP with several queues, as QEMU has it with queues=2: every frame is copied, whatever its queue. */

import { exactly, only, summaryOf, testsWith } from './support.ts'

const QUEUES = 2
const FLOWS = 8

const vmTest = testsWith(async site => {
  await site.tap('tapM', QUEUES)
  await site.tap('tapB')
  const [many, b] = await site.boot(
    { name: 'many', netdevs: { hn0: 'tapM' }, queues: QUEUES },
    { name: 'b', netdevs: { hn0: 'tapB' } },
  )
  return { many, b }
})

vmTest('the frames of all queues are copied, each once', async (t, { site, many, b }) => {
  const ferry = site.ferry(t, '--in-netdev=hn0', '--out-netdev=tapB', `--qmp=${many.monitors[0]}`, '--json')
  t.regex(await ferry.ready(), /ready: hn0 \(tapM\) -> tapB/)
  const flows = Array.from({ length: FLOWS }, (_, index) => index)
  await Promise.all(
    flows.map(flow =>
      // Hashed by their addresses, so the two versions of IP go through queues of their own.
      site.send('tapM', { flow, count: 500, rate: 1000, kind: 'udp', size: 80, ip: flow % 2 === 0 ? 4 : 6 }),
    ),
  )
  t.like(summaryOf(t, await ferry.stop()), { captured: FLOWS * 500, forwarded: FLOWS * 500 })
  const copied = only(await b.received('eth0'))
  const original = only(await many.received('eth0'))
  for (const flow of flows) {
    exactly(t, copied, [[0, 499]], flow)
    t.like(original.flows[flow], { count: 500, duplicates: 0 })
  }
})
