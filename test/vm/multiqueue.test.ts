/** A TAP with several queues, as QEMU has it with queues=2: every frame is copied, whatever its queue. */

import { exactly, only, summaryOf, type Tally, testsWith } from './support.ts'

const QUEUES = 2
/** Each has ports of its own, so that they do not all fall on one queue. */
const FLOWS = 16
const FRAMES = 250

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
  const run = async (...command: string[]) => String((await site.lab.ask('run', { command }))['stdout'])
  t.regex(await run('ip', '-details', 'link', 'show', 'dev', 'tapM'), /multi_queue numqueues 2 numdisabled 0/)
  const ferry = site.ferry(t, '--in-netdev=hn0', '--out-netdev=tapB', `--qmp=${many.monitors[0]}`, '--json')
  t.regex(await ferry.ready(), /ready: hn0 \(tapM\) -> tapB/)
  const flows = Array.from({ length: FLOWS }, (_, index) => index)
  const traffic = { count: FRAMES, rate: 500, kind: 'udp', size: 80 }
  await Promise.all(flows.map(flow => site.send('tapM', { flow, ...traffic })))

  t.like(summaryOf(t, await ferry.stop()), { captured: FLOWS * FRAMES, forwarded: FLOWS * FRAMES })
  const copied = only(await b.received('eth0'))
  for (const flow of flows) exactly(t, copied, [[0, FRAMES - 1]], flow)
  // Its queues keep no order between them: no last frame tells that all have come.
  const whole = (tally: Tally) => flows.every(flow => tally.flows[flow]?.count === FRAMES)
  await many.reports(['eth0'], whole)
  const queues = JSON.parse(await run('tc', '-statistics', '-json', 'qdisc', 'show', 'dev', 'tapM')) as {
    parent?: string
    packets: number
  }[]
  const used = queues.filter(({ parent, packets }) => parent !== undefined && packets > 0)
  t.is(used.length, QUEUES, JSON.stringify(queues))
})
