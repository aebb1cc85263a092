/** Where a real guest's receive queue is, and which ones cannot be followed. */

import { open } from 'node:fs/promises'
import type { ExecutionContext } from 'ava'
import { Monitor } from '../../ts/monitor/index.ts'
import { findReceiveQueue } from '../../ts/vm/receive-queue.ts'
import { type Site, testsWith } from '../vm/support.ts'

const vmTest = testsWith(async site => {
  for (const tap of ['tapA', 'tapB', 'tapC']) await site.tap(tap)
  await site.tap('tapQ', 2)
  const [modern, legacy, packed, several] = await site.boot(
    { name: 'modern', netdevs: { hn0: 'tapA' } },
    { name: 'legacy', netdevs: { hn0: { tap: 'tapB', nic: 'disable-modern=on,mrg_rxbuf=off' } } },
    { name: 'packed', netdevs: { hn0: { tap: 'tapC', nic: 'packed=on' } } },
    { name: 'several', netdevs: { hn0: 'tapQ' }, queues: 2 },
  )
  return { modern, legacy, packed, several }
})

async function connect(t: ExecutionContext, site: Site, name: string): Promise<Monitor> {
  const monitor = await Monitor.connect({ address: site.monitor(name) })
  t.teardown(() => monitor.close())
  return monitor
}

/** `struct vring_used`: flags, and the index, of 16 bits each (virtio 1.2, 2.7.8). */
async function usedIndexAt(pid: number, used: bigint): Promise<number> {
  const memory = await open(`/proc/${pid}/mem`, 'r')
  try {
    const { buffer } = await memory.read({ buffer: Buffer.alloc(2), position: Number(used) + 2 })
    return buffer.readUInt16LE()
  } finally {
    await memory.close()
  }
}

vmTest(
  "the used index in the process's memory is the one that its monitor tells",
  async (t, { site, modern }) => {
    const monitor = await connect(t, site, 'modern')
    const queue = await findReceiveQueue(monitor, 'hn0')
    if (!('ring' in queue)) return t.fail(queue.whyNoRing)
    t.like(queue.ring, { queueSize: 256, headerLength: 12, mergeable: true })
    t.is(queue.ring.memory.length, 1)
    const { pid = 0 } = (await monitor.process()) ?? {}
    const [device] = await monitor.command<{ path: string }[]>('x-query-virtio')
    for (let round = 0; round < 3; round += 1) {
      await site.send('tapA', { flow: 1, first: 100 * round, count: 100 })
      await modern.received('eth0')
      const told = await monitor.command<{ 'used-idx': number }>('x-query-virtio-queue-status', {
        path: device?.path,
        queue: 0,
      })
      t.is(await usedIndexAt(pid, queue.ring.used), told['used-idx'])
      t.true(told['used-idx'] >= 100 * (round + 1))
    }
  },
)

vmTest('a legacy driver has headers of 10 bytes, and one buffer for a frame', async (t, { site }) => {
  const queue = await findReceiveQueue(await connect(t, site, 'legacy'), 'hn0')
  if (!('ring' in queue)) return t.fail(queue.whyNoRing)
  t.like(queue.ring, { headerLength: 10, mergeable: false })
})

vmTest('a packed ring is none', async (t, { site }) => {
  const queue = await findReceiveQueue(await connect(t, site, 'packed'), 'hn0')
  t.like(queue, { whyNoRing: 'its ring is packed, and has no used index' })
})

vmTest('nor are several queues, but for a VM that reads one of them only', async (t, { site }) => {
  const monitor = await connect(t, site, 'several')
  const reason = 'several receive queues are in use, and there is no order between them'
  t.like(await findReceiveQueue(monitor, 'hn0'), { whyNoRing: reason })
  t.like(await findReceiveQueue(monitor, 'hn0', 2), { whyNoRing: reason })
  t.true('ring' in (await findReceiveQueue(monitor, 'hn0', 1)))
})

vmTest('a netdev without a virtio device, and a VM without a driver, have none', async (t, { site }) => {
  await site.tap('tapE')
  const vm = await site.start({ name: 'firmware', netdevs: { hn0: 'tapE' } })
  t.teardown(() => vm.kill())
  const monitor = await connect(t, site, 'firmware')
  t.like(await findReceiveQueue(monitor, 'hn9'), { whyNoRing: 'netdev hn9 has no virtio device' })
  t.like(await findReceiveQueue(monitor, 'hn0'), {
    whyNoRing: "the guest's driver has not set up its queue",
  })
})
