/**
 * Lines of QEMU's COLO-FT.txt in QEMU, and the same lines, letter for letter, in tapferry. The primary is a QEMU 7.2 in both
 * cases; the secondary's guest counts. Its TAP has no virtio-net headers, as those of the primary's hub have none.
 */

import { connected, plugChardev, plugFilter, until } from '../support/stream.ts'
import { joined } from './streams.ts'
import { exactly, recordsOf, summaryOf, testsWith } from './support.ts'

const RED0 = 'socket,id=red0,host=127.0.0.1,port=9003,reconnect=1'
const F1 = 'filter-redirector,id=f1,netdev=hn0,queue=tx,indev=red0'
const COUNT = 500

const vmTest = testsWith(async site => {
  for (const name of ['tapP', 'tapQ', 'tapS']) await site.tap(name)
  const primary = await site.start({ name: 'primary', netdevs: { hn0: 'tapP', hn1: 'tapQ' }, hub: true })
  const [secondary] = await site.boot({
    name: 'secondary',
    netdevs: { hn0: { tap: 'tapS', vnetHdr: false } },
  })
  return { primary, secondary }
})

for (const [flow, who] of ['QEMU', 'tapferry'].entries()) {
  vmTest(
    `COLO's secondary in ${who} gets what its primary mirrors, and keeps it while it is stopped`,
    async (t, shared) => {
      const { site, primary, secondary } = shared
      await plugChardev(t, primary, 'mirror0', { port: 9003, server: true })
      await plugFilter(t, primary, 'm0', {
        type: 'filter-mirror',
        netdev: 'hn0',
        queue: 'tx',
        outdev: 'mirror0',
      })
      const [monitor = ''] = secondary.monitors
      const ferry =
        who === 'QEMU'
          ? undefined
          : site.ferry(t, '-chardev', RED0, '-object', F1, '--qmp', monitor, '--json')
      if (ferry === undefined) {
        await plugChardev(t, secondary, 'red0', { port: 9003, reconnect: 1 })
        await plugFilter(t, secondary, 'f1', {
          type: 'filter-redirector',
          netdev: 'hn0',
          queue: 'tx',
          indev: 'red0',
        })
      } else {
        t.regex(
          await ferry.ready(),
          /tcp:127\.0\.0\.1:9003 -> hn0 \(tapS\), .* held until the VM runs, gate open/,
        )
      }
      await connected(primary, 'mirror0')

      await site.send('tapP', { flow, count: COUNT, rate: 2000 })
      await secondary.reports(['eth0'], tally => tally.flows[flow]?.count === COUNT)
      await secondary.command('stop')
      await site.send('tapP', { flow, first: COUNT, count: COUNT, rate: 2000 })
      await secondary.command('cont')
      const [tally] = await secondary.reports(['eth0'], ({ flows }) => flows[flow]?.count === 2 * COUNT)
      exactly(t, tally, [[0, 2 * COUNT - 1]], flow)

      if (ferry === undefined) return
      t.like(summaryOf(t, await ferry.stop()), { object: 'f1', forwarded: 2 * COUNT, dropped: 0 })
    },
  )
}

vmTest('two objects of one command line have one monitor, one gate and a summary each', async (t, shared) => {
  const { site, primary, secondary } = shared
  await plugChardev(t, primary, 'mirror0', { port: 9003, server: true })
  await plugFilter(t, primary, 'm0', { type: 'filter-mirror', netdev: 'hn0', queue: 'tx', outdev: 'mirror0' })
  const [monitor = ''] = secondary.monitors
  const path = site.socket('copies')
  const ferry = site.ferry(
    t,
    ...['-chardev', RED0, '-chardev', `socket,id=copies,path=${path},server=on,wait=off`],
    ...['-object', F1, '-object', 'filter-mirror,id=m1,netdev=hn0,queue=tx,outdev=copies'],
    ...['--qmp', monitor, '--json'],
  )
  await ferry.ready()
  await plugChardev(t, primary, 'copies', { path })
  await joined(ferry, 'output')
  await connected(primary, 'mirror0')
  await secondary.command('stop')
  await until(
    async () => recordsOf(ferry, 'event').filter(({ event }) => event === 'gate_closed').length === 1,
    () => `m1's gate closes: ${ferry.stdout}`,
  )
  await secondary.command('cont')
  await until(
    async () =>
      recordsOf(ferry, 'event').some(({ event, object }) => event === 'gate_opened' && object === 'm1'),
    () => `m1's gate opens: ${ferry.stdout}`,
  )
  await site.send('tapP', { flow: 7, count: COUNT, rate: 2000 })
  await site.send('tapS', { flow: 8, count: COUNT, rate: 2000 })
  await secondary.reports(['eth0'], ({ flows }) => flows[7]?.count === COUNT && flows[8]?.count === COUNT)
  const finished = await ferry.stop()
  t.is(finished.status, 0)
  t.is(finished.stderr.match(/ready:/g)?.length, 1)
  const forwarded = new Map(
    recordsOf(finished, 'summary').map(each => [each['object'], Number(each['forwarded'])]),
  )
  t.is(forwarded.get('f1'), COUNT)
  // What f1 has injected is not copied: m1 has what came to the TAP from elsewhere.
  const copied = forwarded.get('m1') ?? 0
  t.true(copied >= COUNT && copied < 2 * COUNT, String(copied))
})
