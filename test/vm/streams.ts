/** What the tests of streams share beside support.ts: frames one by one, and waiting for what tapferry has seen. */

import type { ExecutionContext } from 'ava'
import type { Running } from '../support/cli.ts'
import { until } from '../support/stream.ts'
import { eventsOf, type Site, statistics, type Tally } from './support.ts'

/** Sends numbered frames into an interface, one after the other. */
export async function send(
  site: Site,
  netdev: string,
  flow: number,
  ...numbers: readonly number[]
): Promise<void> {
  for (const number of numbers) await site.send(netdev, { flow, first: number })
}

/** What a reader of the lab has counted, once it has so many numbers. */
export async function received(site: Site, netdev: string, atLeast = 0): Promise<Tally> {
  return (await site.lab.ask('received', { netdev, atLeast, clear: true })) as unknown as Tally
}

/** Counts what QEMU writes into a TAP, until the test ends. */
export async function watch(t: ExecutionContext, site: Site, netdev: string): Promise<void> {
  await site.lab.ask('watch', { netdev })
  t.teardown(async () => {
    await site.lab.ask('unwatch', { netdev })
  })
}

/** Waits until a peer has come to one of the ends so many times since `ready`. */
export function joined(ferry: Running, end: 'input' | 'output', times = 1): Promise<void> {
  return ferry.until(() => eventsOf(ferry, `${end}_back`).length >= times, `${end} is back ${times} times`)
}

export async function counted(ferry: Running, counter: string, atLeast: number): Promise<void> {
  let seen: unknown
  await until(
    async () => {
      seen = (await statistics(ferry))[counter] ?? 0
      return Number(seen) >= atLeast
    },
    () => `${counter} was ${atLeast}, it is ${seen}`,
  )
}

/**
 * Every number of a series once. Not in order: of a guest that is slow, frames that QEMU's filter-redirector has handed
 * on in order (filter-dump shows it) were seen to come in another one.
 */
export function eachOnce(t: ExecutionContext, tally: Tally, flow: number, count: number): void {
  const { outOfOrder: _, ...seen } = tally.flows[flow] ?? {}
  t.deepEqual(seen, { count, ranges: [[0, count - 1]], duplicates: 0, damaged: 0 })
  t.is(tally.lostByReader, 0, 'the guest has counted all that reached it')
}
