/**
 * The filters of a netdev in the order in which QEMU has them, and what that means for the frames of one of them.
 * Frames to the guest (tx) pass them from head to tail, frames from the guest (rx) the other way (net/net.c). Pure.
 */

import { unsupported } from './failures.ts'
import type { BufferFilter, StreamFilter } from './object.ts'

export type Filter = BufferFilter | StreamFilter

export interface Chain {
  readonly filters: readonly Filter[]
  /** A filter whose place is beside one that is none of these. */
  readonly strangers: readonly Filter[]
}

type Direction = 'tx' | 'rx'

/** All filters of one command line, which may be of several netdevs: those of others are in nobody's way. */
export function chainOf(given: readonly Filter[]): Chain {
  const filters: Filter[] = []
  const strangers: Filter[] = []
  for (const filter of given) {
    const { position, insert } = filter.place
    const at = filters.findIndex(({ id }) => `id=${id}` === position)
    if (position === 'head') filters.unshift(filter)
    else if (at >= 0) filters.splice(insert === 'before' ? at : at + 1, 0, filter)
    else filters.push(filter)
    if (at < 0 && position.startsWith('id=')) strangers.push(filter)
  }
  return { filters, strangers }
}

/**
 * The buffer that holds the frames of this filter: on their way to its outdev, or from its indev to the guest.
 * Undefined: none. Throws where only some of the frames would be held, or twice.
 */
export function bufferFor(filter: StreamFilter, chain: Chain): BufferFilter | undefined {
  const directions: Direction[] = filter.queue === 'all' ? ['tx', 'rx'] : [filter.queue]
  const buffers = directions.map(direction => buffersOn(filter, direction, chain))
  const [first = []] = buffers
  if (buffers.some(list => list.length > 1)) {
    throw unsupported(
      filter.subject,
      `its frames would be held by ${first.map(({ subject }) => subject).join(' and ')}`,
      'leave all but one out',
    )
  }
  const [buffer] = buffers.flat()
  if (buffer !== undefined && buffers.some(([each]) => each !== buffer)) {
    throw unsupported(
      filter.subject,
      `${buffer.subject} would hold only its frames in one direction`,
      'write two filters, one with queue=tx and one with queue=rx, each with a chardev of its own',
    )
  }
  return buffer
}

/** Those of the filter's indev that pass this one later, on the same netdev and queue. */
export function indevsBefore(filter: StreamFilter, { filters }: Chain): StreamFilter[] {
  if (filter.outdev === undefined || filter.queue === 'rx') return []
  return filters
    .slice(0, filters.indexOf(filter))
    .filter((other): other is StreamFilter => other.kind === 'stream' && other.netdev === filter.netdev)
    .filter(other => other.indev !== undefined && other.queue !== 'rx')
}

function buffersOn(filter: StreamFilter, direction: Direction, { filters }: Chain): BufferFilter[] {
  const at = filters.indexOf(filter)
  // What is captured has come from before, what comes in goes on behind.
  const comesFromHead = (direction === 'tx') === (filter.outdev !== undefined)
  const others = comesFromHead ? filters.slice(0, at) : filters.slice(at + 1)
  return others.filter(
    (other): other is BufferFilter =>
      other.kind === 'buffer' &&
      other.status &&
      other.netdev === filter.netdev &&
      (other.queue === 'all' || other.queue === direction),
  )
}
